"""Readings that no straight line turns into a value. Each has a name that dialects use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from aiops.kernels.rows import F8


def life_time_code(code: F8) -> F8:
    """Return the share used of an eMMC or UFS life-time code, as the lower end of its step.

    1 is 0-10 %, 0x0A is 90-100 %, 0x0B is "exceeded" and says no more than 100 %; 0 is undefined
    (JESD84-B51 7.4.43, JESD220 health descriptor).
    """
    return np.where(code == 0.0, np.nan, (code - 1.0) / 10.0)


def above_100_wraps(normalised: F8) -> F8:
    """Return life left of a counter that goes on below zero as eight bits: 131 is -125."""
    return np.where(normalised > 100.0, normalised - 256.0, normalised)


def above_100_is_new(normalised: F8) -> F8:
    """Return life left of a counter that starts somewhere above 100."""
    return np.where(normalised > 100.0, 100.0, normalised)


def below_100(raw: F8) -> F8:
    """Return a raw percentage that stands in for a normalised value stuck at 100."""
    return np.where((raw > 0.0) & (raw < 100.0), raw, np.nan)


def zero_is_undefined(code: F8) -> F8:
    """Return a code whose 0 means that the medium does not say."""
    return np.where(code == 0.0, np.nan, code)


def low_32_bits(raw: F8) -> F8:
    """Return the count in the low 32 of the 48 bits of a raw value; above are other counts."""
    return np.where(raw >= 0.0, np.mod(raw, 2.0**32), raw)


PLANNED_REASONS = (0x0001, 0x0002, 0x0003, 0x0005, 0x0006, 0x0008, 0x0009, 0x000B)
"""User shutdown or reset, update, debugger, button, software reset, deep sleep, self test."""


def reboot_reason(code: F8) -> F8:
    """Return 1 for a reboot that was asked for, 0 for a fault or lost power; 0 is unknown.

    Codes of the Memfault device SDKs: below 0x8000 no error, but loss of power is among them.
    """
    planned = np.isin(code, PLANNED_REASONS).astype(np.float64)
    return np.where((code == 0.0) | np.isnan(code), np.nan, planned)


TRANSFORMS: Mapping[str, Callable[[F8], F8]] = MappingProxyType(
    {
        "life_time_code": life_time_code,
        "above_100_wraps": above_100_wraps,
        "above_100_is_new": above_100_is_new,
        "below_100": below_100,
        "zero_is_undefined": zero_is_undefined,
        "low_32_bits": low_32_bits,
        "reboot_reason": reboot_reason,
    }
)
