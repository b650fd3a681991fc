"""Pure decisions: a frozen Snapshot in, a Plan out.

No clock, no I/O, no asyncio. Each planner is an ordered chain of small named checks; its tests are
table rows.
"""
