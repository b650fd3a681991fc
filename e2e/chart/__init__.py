"""The Helm chart: how it is rendered, checked and packed (``make chart``), and its tests."""
