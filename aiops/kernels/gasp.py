"""What a device last said of itself before it fell silent, and whether it has booted since."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from aiops.kernels.compile import kernel
from aiops.kernels.rows import F8, I1, I4, I8

F4: TypeAlias = npt.NDArray[np.float32]

MINUTE_NS = 60_000_000_000
CLOCK_SET_NS = 978_307_200_000_000_000
"""2001: a boot that claims to be older was told by a clock that nobody has set."""
SLACK_NS, DRIFT = 60_000_000_000, 2e-4
"""Instants of one boot, told twice, differ by less, or by this share of the time between them."""
WRAPS_NS = (4_294_967_296_000_000, 42_949_672_960_000_000)
"""Uptime counters of 32 bits begin anew after 49.7 days in ms, or 497.1 days in ticks of 10 ms."""


@kernel
def remember_words(
    device: I4,
    ts: I8,
    value: F8,
    last: I8,
    which: int,
    share: float,
    words: F4,
    said_min: I4,
) -> None:
    """Keep the latest `value` [n] of each device as its word `which`, with the minute of it.

    `share` is the weight of a value against what was kept: 1.0 keeps the latest. Rows that are not
    newer than `last` [c], the device's newest row before these, leave no trace.
    """
    for k in range(device.shape[0]):
        new = value[k]
        i = device[k]
        if np.isnan(new) or ts[k] <= last[i]:
            continue
        old = words[i, which]
        words[i, which] = new if np.isnan(old) else (1.0 - share) * old + share * new
        said_min[i, which] = ts[k] // MINUTE_NS


@kernel
def see_boots(
    device: I4,
    ts: I8,
    boot_id: F8,
    boot_count: F8,
    uptime_s: F8,
    boot_time_s: F8,
    last: I8,
    known_id: F8,
    known_count: F8,
    booted: I8,
    rebooted: I8,
    boot_said: I8,
    clock_reset: I1,
) -> None:
    """Note of each device which boot it runs on, and when a row first told of another one.

    The best that a row reports decides: boot id, boot counter, uptime, boot time. An uptime or boot
    time tells of another boot when the boot lies after the device was `last` [c] heard.

    Parameters
    ----------
    booted
        [c] instant of the boot as last told by uptime or boot time, ns; 0: not known. An uptime
        that wraps moves it.
    rebooted
        [c] time of the row that first told of another boot, ns.
    boot_said
        [c] time of the last row that told anything of boots, ns.
    clock_reset
        [c] 1: the boot time of the newest boot was told by a clock that nobody had set.
    """
    newest = -1
    before = 0
    for k in range(device.shape[0]):
        i = device[k]
        t = ts[k]
        if i != newest:
            newest, before = i, last[i]
        if t <= before:
            continue
        id, count, up, boot = boot_id[k], boot_count[k], uptime_s[k], boot_time_s[k]
        heard = before
        before = t
        instant = 0
        if up >= 0.0:
            instant = t - int(up * 1e9)
        elif boot * 1e9 >= CLOCK_SET_NS:
            instant = int(boot * 1e9)
        elif np.isnan(id) and np.isnan(count) and np.isnan(boot):
            continue
        boot_said[i] = t
        if not np.isnan(id) and not np.isnan(known_id[i]):
            anew = id != known_id[i]
        elif not np.isnan(count) and not np.isnan(known_count[i]):
            anew = count != known_count[i]
        else:
            anew = instant > heard and heard > 0
            if anew and booted[i] > 0:
                apart = instant - booted[i]
                slack = max(SLACK_NS, int(DRIFT * (t - heard)))
                anew = apart > slack
                for wrap in WRAPS_NS:
                    rest = apart % wrap
                    if up >= 0.0 and min(rest, wrap - rest) < slack:
                        anew = False
        if not np.isnan(id):
            known_id[i] = id
        if not np.isnan(count):
            known_count[i] = count
        if anew:
            rebooted[i] = t
            clock_reset[i] = 1 if boot * 1e9 < CLOCK_SET_NS else 0
        if instant > 0:
            booted[i] = instant
