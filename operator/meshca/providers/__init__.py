"""Where CA keys live and sign: one module per kind of provider, behind ``providers.api``."""
