"""Pure X.509: bytes and values in and out.

Imports ``cryptography`` and nothing that knows a clock, a socket or an event loop; "now" is always an
argument. Every certificate goes through profile → prepare → lint → issue.
"""
