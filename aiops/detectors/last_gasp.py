"""Disconnected or dead? What the last that was heard of a silent device says for either.

A rule of thumb and not learnt: signals add up as log-odds of *it is down* against *it runs, but
cannot be heard*, from even odds. `SIGNALS` is all of it.

====================  =======  ===================================================================
signal                log-odds  it counts when
====================  =======  ===================================================================
``low_battery``       +2.0     the last charge reported was 10 % or less
``on_battery``        +1.0     it last said that it had no mains, and most of the time it has
``hot``               +1.5     it last was at 80 degrees Celsius or more
``warming``           +1.0     it was 15 degrees above its usual temperature
``just_rebooted``     +1.0     it had rebooted within the hour before
``failing_flash``     +1.5     its storage reported a critical warning
``neighbours_heard``  +0.5     no other device of its site is overdue
``weak_radio``        -1.5     its signal was at -85 dBm or less
``lossy_link``        -1.5     its link lost 10 % or more
``site_overdue``      -2.0     half of its site's other devices or more are overdue too
``returned_before``   -1.5     it was overdue as long before, and came back
====================  =======  ===================================================================

What was said more than a day before the device was last heard does not count. Two signals of one
cause (a battery that is low and in use) count twice: odds of 20 to 1 are a strong hint, not 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from aiops.kernels.gasp import F4, MINUTE_NS
from aiops.kernels.rows import I4, I8

Facts = dict[str, float]

WORDS = (
    "battery.soc_ratio",
    "power.on_mains",
    "temperature.celsius",
    "net.rssi_dbm",
    "net.loss_ratio",
    "storage.critical_warning",
)
"""Metrics of which the latest is remembered, in this order..."""
USUALLY = ("temperature.celsius", "power.on_mains")
"""...and after them what is usual of these,"""
USUAL_SHARE = 1.0 / 256.0
"""which a new value moves by this much."""
KEPT = len(WORDS) + len(USUALLY)
GASP = (
    "battery_soc_ratio",
    "on_mains",
    "celsius",
    "rssi_dbm",
    "loss_ratio",
    "critical_warning",
    "warming_celsius",
    "usual_mains_ratio",
)
"""Names of what a device and its parts said last, as facts."""
LOW, HIGH = np.fmin, np.fmax
WORST: tuple[np.ufunc, ...] = (LOW, LOW, HIGH, HIGH, LOW, HIGH, HIGH, LOW)
"""Which of several parts speaks for the device: of radios, the best."""
STALE_MIN = 1440


class Signal(NamedTuple):
    """One reason to believe that a device is down, or (below 0) that it is cut off."""

    name: str
    log_odds: float
    holds: Callable[[Facts], bool]
    """Of facts, of which those not known are NaN: no comparison with one holds."""
    words: str


SIGNALS = (
    Signal(
        "low_battery",
        2.0,
        lambda f: f["battery_soc_ratio"] <= 0.1,
        "its battery was at {battery_soc_ratio:.0%}",
    ),
    Signal(
        "on_battery",
        1.0,
        lambda f: f["on_mains"] == 0.0 and f["usual_mains_ratio"] >= 0.5,
        "it had lost its mains",
    ),
    Signal("hot", 1.5, lambda f: f["celsius"] >= 80.0, "it was at {celsius:.0f} °C"),
    Signal(
        "warming",
        1.0,
        lambda f: f["warming_celsius"] >= 15.0,
        "it was {warming_celsius:.0f} °C warmer than usual",
    ),
    Signal("just_rebooted", 1.0, lambda f: f["reboot_before_s"] <= 3600.0, "it had just rebooted"),
    Signal(
        "failing_flash",
        1.5,
        lambda f: f["critical_warning"] > 0.0,
        "its storage gave a critical warning",
    ),
    Signal(
        "neighbours_heard", 0.5, lambda f: f["site_silent_ratio"] == 0.0, "its neighbours are heard"
    ),
    Signal(
        "weak_radio",
        -1.5,
        lambda f: f["rssi_dbm"] <= -85.0,
        "its signal was weak ({rssi_dbm:.0f} dBm)",
    ),
    Signal("lossy_link", -1.5, lambda f: f["loss_ratio"] >= 0.1, "its link lost {loss_ratio:.0%}"),
    Signal("site_overdue", -2.0, lambda f: f["site_silent_ratio"] >= 0.5, "its site is silent too"),
    Signal(
        "returned_before",
        -1.5,
        lambda f: f["longest_return_s"] >= f["silent_s"],
        "it was silent as long before and came back",
    ),
)
LIKELIER = 2.0
"""Odds at which one of the two is called likelier."""


def gasps(words: F4, said_min: I4, root: I4, device: I4, heard: I8) -> F4:
    """Return what each of `device` [k], ascending, and its parts said last [k, w], NaN: nothing.

    `words` and `said_min` [size, w] are as the kernel keeps them, `root` [size] tells whose part
    each is, and `heard` [k] when the device was last heard, ns.
    """
    said = np.full((len(device), len(GASP)), np.nan, dtype=np.float32)
    chosen = np.zeros(len(root), dtype=np.bool_)
    chosen[device] = True
    member = np.flatnonzero(chosen[root])
    place = np.searchsorted(device, root[member])
    since_min = heard[place] // MINUTE_NS - STALE_MIN
    fresh = np.where(said_min[member] >= since_min[:, None], words[member], np.nan)
    celsius = fresh[:, WORDS.index("temperature.celsius")]
    fresh[:, len(WORDS)] = celsius - fresh[:, len(WORDS)]
    for which, worst in enumerate(WORST):
        worst.at(said[:, which], place, fresh[:, which].astype(np.float32))
    return said


def weigh(facts: Facts) -> Facts:
    """Return the log-odds of each signal that `facts` give, and the odds that the device is down.

    Facts not known may be absent.
    """
    known = dict.fromkeys((*GASP, "reboot_before_s", "longest_return_s"), math.nan) | facts
    told = {f"{s.name}_log_odds": s.log_odds for s in SIGNALS if s.holds(known)}
    return told | {"dead_odds": math.exp(sum(told.values()))}


def in_words(evidence: Facts) -> str:
    """Say which is likelier, and why."""
    odds = evidence["dead_odds"]
    if 1.0 / LIKELIER < odds < LIKELIER:
        return "Nothing says whether it is down or only cut off."
    down = odds > 1.0
    why = [
        signal.words.format(**evidence)
        for signal in SIGNALS
        if f"{signal.name}_log_odds" in evidence and (signal.log_odds > 0.0) == down
    ]
    which = "down than cut off" if down else "cut off than down"
    return f"More likely {which} ({max(odds, 1.0 / odds):.0f} to 1): {', '.join(why)}."
