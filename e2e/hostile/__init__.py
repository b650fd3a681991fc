"""Scenarios in which users do what they can to objects and Secrets that meshca reads."""
