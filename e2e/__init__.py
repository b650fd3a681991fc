"""Real Kubernetes clusters by name, for tests and for the demo; no part of the operator."""
