"""What is remembered of each device's boots, and what shapes it; three kernels work on it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aiops.kernels.rows import F8, I1, I4, I8

F4 = NDArray[np.float32]
U2 = NDArray[np.uint16]


class RebootMemory(NamedTuple):
    """What is known of each device's boots; 0 in a time means never, NaN not yet."""

    # -- counting: boots.py -------------------------------------------------------------------
    ts: I8
    """[c] time of the last row that said something of boots, ns."""
    boot_id: F8
    """[c] code of the current boot."""
    boot_time_s: F8
    """[c] Unix time of the boot, as the device believes."""
    boot_time_ts: I8
    """[c] when the boot time was read, ns."""
    uptime_s: F8
    """[c]"""
    uptime_ts: I8
    """[c] when the uptime was read, ns."""
    boot_count: F8
    """[c] boots ever counted."""
    power_cycles: F8
    """[c] of a drive."""
    power_on_s: F8
    """[c] of a drive: the exposure of its power cycles."""
    unsafe: F4
    """[c] times a drive lost power without notice."""
    maintained: I1
    """[c] 1: a maintenance window was open in the last row."""
    version: F8
    """[c] code of the software version."""
    version_ts: I8
    """[c] when the software version was seen to change, ns."""
    episode_ts: I8
    """[c] when the last episode of reboots, planned or not, was seen first, ns."""
    planned_ts: I8
    """[c] when the last planned reboot was seen, ns."""
    reboots: I4
    """[c] unplanned reboots counted."""
    planned: I4
    """[c] planned reboots."""
    power: I4
    """[c] unplanned reboots of which power is told."""
    software: I4
    """[c] unplanned reboots of which software is told."""
    open_s: F8
    """[c] exposure (running time) not judged yet, seconds."""
    settled: I4
    """[c] episodes that enter the next bin."""
    pending: I4
    """[c] reboots of the episode not yet known to be the device's own; 0: none."""
    pending_lo: I8
    """[c] the pending boot happened after this, ns..."""
    pending_hi: I8
    """[c] ...and not after this, ns."""
    pending_seen: I8
    """[c] time of the row that showed it, ns."""
    pending_cause: I1
    """[c] 0 not told, 1 planned, 2 power, 3 software."""
    # -- common cause: cause.py ---------------------------------------------------------------
    shared: I4
    """[c] reboots ever that were not the device's own; `reboots` no longer counts them."""
    shared_ts: I8
    """[c] moment of the last one, ns."""
    shared_by: I1
    """[c] whose it was; 0 when that is over."""
    # -- evidence: reboot.py ------------------------------------------------------------------
    episodes: I4
    """[c] episodes judged."""
    bins: I4
    """[c] bins of exposure judged."""
    before: F4
    """[c, h] probability of each hazard if nothing changed."""
    after: F4
    """[c, h] Shiryaev-Roberts weight of each hazard since a change, in bins."""
    surplus: F4
    """[c, k] Shiryaev-Roberts weight of each multiple of the cohort's rate, in bins."""
    evidence: F4
    """[c] log of all that weight: of an e-detector, nats."""
    level: F4
    """[c] the same, less what a reboot on average carries it past the line."""
    onset_day: F4
    """[c] likeliest day of the change, since the epoch; NaN: little evidence of any."""
    recent: U2
    """[c, n] days of the last episodes, since the epoch, oldest first; 0: not yet."""
    rate_before: F4
    """[c] rate before the change, if there was one, 1/s: the mean of its logarithm."""
    rate_after: F4
    """[c] rate since then, likewise."""
    # -- what the cohort has in store: pairs of episodes by how near they are ------------------
    yesterday: I1
    """[c] episodes of the last bin."""
    day_of_week: I1
    """[c] bins of the current block."""
    week: I1
    """[c] episodes of the current block, one a bin at most."""
    last_week: I1
    """[c] episodes of the block before; -1: none yet."""
    week_before: I1
    """[c] episodes of the block before that; -1: none yet."""
    same_day: F4
    """[c] sum over bins of x (x - 1)."""
    next_day: F4
    """[c] sum over bins of x times that of the next."""
    same_week: F4
    """[c] sum over blocks of x (x - 1), both of each pair."""
    next_week: F4
    """[c] twice the sum over blocks of x times that of the next but one."""
    cohort_rate: F4
    """[c] sealed: mean rate of the others of its cohort, 1/s; NaN: not known."""
    cohort_shape: F4
    """[c] sealed: shape of the gamma distribution of their rates."""
    dispersion: I1
    """[c] sealed: index into `RebootSettings.frailty`."""
    daily: I1
    """[c] sealed: 1: what falls into one bin is one episode."""
    informed: I1
    """[c] 1: `before` knows the cohort."""
    sealed_day: U2
    """[c] day on which cohorts were sealed last, since the epoch; all devices alike."""


class RebootSettings(NamedTuple):
    """What shapes the memory, and the line."""

    bin_s: float
    """Exposure of a bin, seconds."""
    gap_s: float
    """Exposure credited, at most, to a gap in which the device went down, beyond its uptime."""
    episode_ns: int
    """Reboots this close to the first of an episode belong to it."""
    version_ns: int
    """A reboot this close to a change of the software version was planned."""
    window_ns: int
    """Reboots this close have one cause, if there are too many for chance."""
    open_ns: int
    """A shared cause is over so long after its last reboot."""
    chance: float
    """Probability below which reboots at one moment are not chance."""
    usual: float
    """Rate of a device of which nothing is known, 1/s."""
    line: float
    """Evidence that is on the alert line, nats."""
    rate: F8
    """[h] hazards, 1/s of exposure, ascending by a constant factor."""
    prior: F8
    """[h] probability of each, of a device of which nothing is known."""
    steps: I8
    """[r] ratios looked for, as steps between hazards."""
    share: F8
    """[r] weight of each."""
    frailty: F8
    """[q] shape of a block's common factor; inf: none (Poisson)."""
    quiet: F8
    """[q, d, h] likelihood of a bin without an episode, d bins into a block without one."""
    again: F8
    """[q, d, h] factor of it for each episode before in the block."""
    hit: F8
    """[q, d, h] factor of it for each episode in the bin."""
    ratio: F8
    """[k] multiples of the cohort's rate looked for."""
    ratio_share: F8
    """[k] weight of each."""
    cohort_share: float
    """Weight of the cohort's comparison; the rest is that with the device's own past."""
    flat_share: float
    """Weight of an even prior beside the cohort's, for those who are unlike their cohort."""
