"""The only package that talks to the API server (besides Kopf's own watches)."""
