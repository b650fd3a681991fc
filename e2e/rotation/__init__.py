"""The root of a CA is replaced on a real API server, with everything recorded that anybody could see."""
