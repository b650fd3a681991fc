"""meshca: a Kubernetes operator that is the certificate authority of a service mesh."""

__version__ = "0.2.0"
