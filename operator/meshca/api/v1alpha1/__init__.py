"""Version v1alpha1 of the five kinds, as pydantic models."""
