"""The public surface: a name comes or goes only together with this list (and the changelog)."""

from __future__ import annotations

import types

import aiops

SURFACE: list[str] = []


def test_the_surface_is_this() -> None:
    assert list(aiops.__all__) == SURFACE


def test_the_surface_is_sorted() -> None:
    assert list(aiops.__all__) == sorted(aiops.__all__)


def test_what_is_public_is_in_the_surface_and_what_is_in_it_is_there() -> None:
    assert all(hasattr(aiops, name) for name in aiops.__all__)
    public = {
        name
        for name, value in vars(aiops).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert public - {"annotations"} <= set(aiops.__all__)
