"""Pure decisions: a frozen Snapshot in, a Plan out.

No clock, no I/O, no asyncio. Each planner is an ordered chain of small named checks; its tests are
table rows. By what is decided about:

* a CA: ``ca`` (Snapshot and Plan), ``desired``, ``assess`` and ``situation`` (the snapshot, read);
  ``configuration`` (the chain), ``origin``, ``signers``, ``rotation``, ``turning``, ``crosses``, ``pruning``
  (its checks), ``steps`` (what they ask for); ``serving``, ``authority`` and ``signingroot`` (what it gives
  out); ``castatus``, ``rootstatus``, ``rotationstatus``, ``phases`` and ``laggards`` (what is said of it);
* a leaf: ``leaf`` (the chain), ``refusals``, ``naming``, ``moves``;
* a secondary's own CA: ``secondary`` (checks), ``following``, ``pinning``, ``joining``, ``requested`` and
  ``secondarystatus``; ``primary`` and ``primaryfacts`` (what its link tells);
* secondaries, in their primary: ``registration``, ``secondaries``, ``intermediate`` and ``requestview``;
* the admission policy: ``admission``.

``views`` and ``secrets`` read objects for all of them.
"""
