"""Does a rotation look the same to everybody: OpenSSL, Go, GnuTLS and Envoy before the same chains."""
