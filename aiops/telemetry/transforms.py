"""Readings that no straight line turns into a value. Each has a name that dialects use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from aiops.kernels.rows import B1, F8


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


PLANNED, POWER, SOFTWARE = 1.0, 2.0, 3.0
"""Causes of a reboot, as `device.reboot_cause` counts them."""


def _causes(code: F8, planned: list[int], power: list[int], software: B1) -> F8:
    cause = np.where(software, SOFTWARE, np.nan)
    cause[np.isin(code, planned)] = PLANNED
    cause[np.isin(code, power)] = POWER
    return cause


def reboot_reason(code: F8) -> F8:
    """Return the cause of a reboot that a code of the Memfault device SDKs tells.

    Below 0x8000 is no error: user shutdown or reset, update, debugger, button, software reset, deep
    sleep, self test; but lost power is among them (0x0004 low power, 0x0007 power on). From 0x8000
    on it was a fault, and 0x8003 is a brown-out. 0 is unknown, a reset pin says nothing.
    """
    return _causes(code, [1, 2, 3, 5, 6, 8, 9, 11], [0x0004, 0x0007, 0x8003], code >= 0x8000)


def esp_reset_reason(code: F8) -> F8:
    """Return the cause that `esp_reset_reason_t` of ESP-IDF tells.

    1 power on, 2 external pin, 3 software, 4 panic, 5 to 7 watchdogs, 8 deep sleep, 9 brown-out,
    10 SDIO, 11 USB, 12 JTAG, 13 eFuse, 14 power glitch, 15 CPU lock-up.
    """
    return _causes(code, [3, 8, 11, 12], [1, 9, 14], np.isin(code, [4, 5, 6, 7, 13, 15]))


def hwinfo_reset_cause(flags: F8) -> F8:
    """Return the cause that Zephyr's `hwinfo_get_reset_cause` tells: a bit for each that was found.

    Bits from 0: pin, software, brown-out, power-on, watchdog, debug, security, wake, lock-up,
    parity, PLL, clock, hardware, user, temperature. A fault outweighs power, power outweighs a
    wish: software is how a fault ends, and some chips raise power-on along with brown-out.
    """
    bits = np.where((flags >= 0.0) & (flags < 2.0**32), flags, 0.0).astype(np.int64)
    cause = np.full(len(flags), np.nan)
    for mask, meaning in ((0x20A2, PLANNED), (0x000C, POWER), (0x1F50, SOFTWARE)):
        cause[bits & mask != 0] = meaning
    return cause


TRANSFORMS: Mapping[str, Callable[[F8], F8]] = MappingProxyType(
    {
        "life_time_code": life_time_code,
        "above_100_wraps": above_100_wraps,
        "above_100_is_new": above_100_is_new,
        "below_100": below_100,
        "zero_is_undefined": zero_is_undefined,
        "low_32_bits": low_32_bits,
        "reboot_reason": reboot_reason,
        "esp_reset_reason": esp_reset_reason,
        "hwinfo_reset_cause": hwinfo_reset_cause,
    }
)
