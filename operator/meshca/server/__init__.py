"""Health, readiness and metrics over HTTP, on every replica."""
