"""Live mutual TLS between two workloads of the mesh while the CA under them changes."""
