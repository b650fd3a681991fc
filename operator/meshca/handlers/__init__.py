"""The only package, with ``runtime``, that imports Kopf: thin handlers that project and enqueue."""
