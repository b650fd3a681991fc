"""What runs the decisions: queue, timers, store, reconcilers, executor.

Knows asyncio, but neither Kopf nor HTTP: everything outside is a protocol in ``engine.ports``.
"""
