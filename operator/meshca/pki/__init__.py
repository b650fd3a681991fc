"""X.509 and SPIFFE as pure functions: keys, identities, requests, certificates, paths and bundles.

Nothing here reads a clock, a file or a socket; moments come in as arguments, aware and UTC, and go out
truncated to whole seconds. Random bits (keys, serial numbers) are the one thing not determined by the
arguments. Key ids, fingerprints and serial numbers are lower-case hex without separators.
"""
