"""Compiled loops over arrays. Imports numba, numpy and math, and nothing else of ours.

A kernel takes NamedTuples of arrays and writes into arrays it was given. It calls no kernel of
another file, because Numba's cache watches only the file a kernel is in and would go stale.
Each has a slow, obvious twin in ``tests/oracles`` that shares nothing with it.
"""
