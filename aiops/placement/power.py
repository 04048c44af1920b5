"""Battery, heat and supply as one number for each node: the watts its workloads may draw together.

All functions take arrays of one shape; NaN is not known and limits nothing.
"""

from __future__ import annotations

import numpy as np

from aiops.kernels.rows import B1, F8

SOC_FLOOR = 0.15
"""Charge below which a battery is kept for the device itself."""
MARGIN_C = 2.0
"""Kept from the temperature limit: sensors and models err by so much."""
HEAT_HORIZON_S = 1800.0
"""A node that is too hot must have cooled down within this."""


def battery_watts(
    soc_ratio: F8, on_battery: B1, battery_wh: F8, endurance_h: F8, harvest_w: F8, idle_w: F8
) -> F8:
    """Return what may be drawn so that the floor is not reached within the endurance; inf: any.

    The time to empty is at least `endurance_h` exactly if the draw is within this.
    """
    # P = (SoC - floor) * E / T + harvest - idle
    usable_wh = np.maximum(0.0, soc_ratio - SOC_FLOOR) * battery_wh
    watts = usable_wh / endurance_h + harvest_w - idle_w
    return np.where(on_battery & ~np.isnan(watts), np.maximum(0.0, watts), np.inf)


def thermal_watts(
    temperature_c: F8, limit_c: F8, ambient_c: F8, heating: F8, tau_s: F8, idle_w: F8
) -> F8:
    """Return what may be drawn so that the limit, less a margin, is kept; inf: any.

    First-order model: T tends to T_amb + heating * P with time constant tau. What is drawn must
    be bearable for ever, and a node that is hotter than that must come down within the horizon.
    """
    highest = limit_c - MARGIN_C
    # what is left of the present temperature at the horizon: e^(-h / tau)
    left = np.exp(-HEAT_HORIZON_S / np.maximum(tau_s, 1e-9))
    with np.errstate(invalid="ignore"):
        reached = (highest - temperature_c * left) / -np.expm1(
            -HEAT_HORIZON_S / np.maximum(tau_s, 1e-9)
        )
    # P = (T - T_amb) / R - idle
    watts = (np.fmin(highest, reached) - ambient_c) / heating - idle_w
    return np.where(np.isnan(watts), np.inf, np.maximum(0.0, watts))


def supply_watts(supply_w: F8, idle_w: F8) -> F8:
    """Return what the supply leaves for workloads; inf: any."""
    watts = supply_w - idle_w
    return np.where(np.isnan(watts), np.inf, np.maximum(0.0, watts))
