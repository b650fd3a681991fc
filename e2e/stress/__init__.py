"""Scenarios in which servers and replicas fail while leaves are asked for all the time."""
