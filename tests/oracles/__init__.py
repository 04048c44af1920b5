"""Slow, obvious twins of the kernels: dicts and floats, sharing nothing with what they check."""
