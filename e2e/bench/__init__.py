"""How fast and how quiet the operator is, next to the bare limit of the same machine in the same run.

Figures are ratios: absolute ones differ by a factor of three between two hours of one machine.
"""
