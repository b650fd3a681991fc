"""The API group ``meshca.dev`` as typed models, and the generator of its CRDs."""
