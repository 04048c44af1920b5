"""A power budget keeps what it promises, shown by letting time pass."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.placement.power import (
    HEAT_HORIZON_S,
    MARGIN_C,
    SOC_FLOOR,
    battery_watts,
    supply_watts,
    thermal_watts,
)


def one(value):
    return np.array([value])


def battery(soc, wh, endurance_h, harvest=0.0, idle=0.0, on_battery=True):
    watts = battery_watts(
        *(one(v) for v in (soc, on_battery, wh, endurance_h, harvest, idle)),
    )
    return watts.item()


def heat(temperature, ambient, heating, tau_s=0.0, idle=0.0, limit=85.0):
    watts = thermal_watts(*(one(v) for v in (temperature, limit, ambient, heating, tau_s, idle)))
    return watts.item()


share = st.floats(0.0, 1.0)
watts = st.floats(0.0, 50.0)


@given(soc=share, wh=st.floats(1.0, 1e3), hours=st.floats(0.5, 48.0), harvest=watts, idle=watts)
def test_the_floor_is_reached_when_the_endurance_is_over_and_not_before(
    soc, wh, hours, harvest, idle
):
    budget = battery(soc, wh, hours, harvest, idle)
    assert budget >= 0.0
    left_wh = (soc - SOC_FLOOR) * wh - (budget + idle - harvest) * hours
    if budget > 0.0 and soc >= SOC_FLOOR:
        assert left_wh == pytest.approx(0.0, abs=1e-6 * wh)
    elif soc >= SOC_FLOOR:
        assert left_wh <= 1e-6 * wh  # even idle it is spent by then


def cooled(temperature, ambient, heating, tau_s, power, seconds):
    """Return the temperature after some time, by small steps of the differential equation."""
    steps = 20_000
    for _ in range(steps):
        temperature += (ambient + heating * power - temperature) * seconds / steps / tau_s
    return temperature


@pytest.mark.parametrize("temperature", [20.0, 60.0, 83.5, 84.5, 95.0])
@pytest.mark.parametrize("tau_s", [300.0, 3600.0])
@pytest.mark.parametrize("idle", [0.0, 2.0])
def test_a_node_within_its_budget_is_below_the_limit_by_the_horizon_and_ever_after(
    temperature, tau_s, idle
):
    budget = heat(temperature, 30.0, 5.0, tau_s, idle)
    after = cooled(temperature, 30.0, 5.0, tau_s, budget + idle, HEAT_HORIZON_S)
    in_the_end = 30.0 + 5.0 * (budget + idle)
    if budget > 0.0:
        assert max(after, in_the_end) == pytest.approx(85.0 - MARGIN_C, abs=0.05)
        return
    # Too hot to be cool in time whatever is drawn; nothing is.
    assert cooled(temperature, 30.0, 5.0, tau_s, idle, HEAT_HORIZON_S) >= 85.0 - MARGIN_C - 0.05


def test_what_is_not_known_limits_nothing():
    nan = math.nan
    assert battery(nan, 50.0, 8.0) == battery(0.2, nan, 8.0) == math.inf
    assert battery(0.2, 50.0, 8.0, on_battery=False) == math.inf
    assert heat(60.0, nan, 5.0) == heat(60.0, 30.0, nan) == math.inf
    assert supply_watts(one(nan), one(3.0)).item() == math.inf
    # Without a reading of its own the air still tells what a node bears for ever.
    assert heat(nan, 30.0, 5.0) == pytest.approx((85.0 - MARGIN_C - 30.0) / 5.0)


def test_a_supply_feeds_the_node_first():
    assert supply_watts(one(12.95), one(3.0)).item() == pytest.approx(9.95)
    assert supply_watts(one(2.0), one(3.0)).item() == 0.0
