"""Kernels of admission: the fleet's clock, grouping, lateness, pinned sources and counters."""

from __future__ import annotations

import numpy as np

from aiops.kernels.compile import kernel
from aiops.kernels.rows import B1, F8, I1, I4, I8

NO_TIME = np.iinfo(np.int64).min

# Places in the clock's state vector.
BEST_DEVICE, BEST_TS, SECOND_TS, STAMPED, WATERMARK, FIRST_OPEN = range(6)
NOBODY, HEARTBEAT = -1, -2

LOWS_TO_BEGIN = 3
"""A counter that stands lower than it did so often in a row has begun anew."""


@kernel
def advance_clock(
    root: I4,
    ts: I8,
    recv_ts: I8,
    state: I8,
    epoch_ns: int,
    lateness_ns: int,
    end_lead_ns: int,
    first_open: I8,
    vouched: I8,
) -> None:
    """Fold rows, in log order, into the clock; write the first open epoch after each row.

    A stamped row (`recv_ts`) moves the clock by its stamp. Without stamps the clock is what two
    devices have reached: one with a wrong clock must not close everybody's epochs. A heartbeat
    (`root` -1) moves the clock by its stamp, and without one is a voice like any device's;
    without any time it ends a history and closes all up to the last row, unless that leads
    every other device by more than `end_lead_ns`.

    `state` [6] is updated in place; `first_open` and `vouched` [n] are written: after each row,
    the first open epoch, and the latest time that a stamp or a second device vouches for.
    """
    for i in range(ts.shape[0]):
        end = False
        voice = root[i] if root[i] >= 0 else HEARTBEAT
        if recv_ts[i] != NO_TIME:
            state[STAMPED] = max(state[STAMPED], recv_ts[i])
        elif ts[i] == NO_TIME:
            end = True
        elif voice == state[BEST_DEVICE]:
            state[BEST_TS] = max(state[BEST_TS], ts[i])
        elif ts[i] > state[BEST_TS]:
            if state[BEST_DEVICE] != NOBODY:
                state[SECOND_TS] = state[BEST_TS]
            state[BEST_DEVICE] = voice
            state[BEST_TS] = ts[i]
        else:
            state[SECOND_TS] = max(state[SECOND_TS], ts[i])

        best, second = state[BEST_TS], state[SECOND_TS]
        if best != NO_TIME:
            if end and (second == NO_TIME or best - second <= end_lead_ns):
                state[WATERMARK] = max(state[WATERMARK], best)
            else:
                state[WATERMARK] = max(state[WATERMARK], second)
        state[WATERMARK] = max(state[WATERMARK], state[STAMPED])
        if state[WATERMARK] != NO_TIME:
            opened = (state[WATERMARK] - lateness_ns) // epoch_ns
            if end:
                opened = state[WATERMARK] // epoch_ns + 1
            state[FIRST_OPEN] = max(state[FIRST_OPEN], opened)
        first_open[i] = state[FIRST_OPEN]
        vouched[i] = max(state[STAMPED], state[SECOND_TS])


@kernel
def group_rows(device: I4, ts: I8, count: I8, order: I8) -> None:
    """Write into `order` [n] the stable order by (device, ts).

    `count` [devices + 1] is scratch, all zero on entry: a counting sort by device, then an
    insertion sort by time within a device, where rows nearly always are in order already.
    """
    n = device.shape[0]
    for i in range(n):
        count[device[i] + 1] += 1
    for d in range(1, count.shape[0]):
        count[d] += count[d - 1]
    for i in range(n):
        d = device[i]
        order[count[d]] = i
        count[d] += 1
    for j in range(1, n):
        row = order[j]
        k = j
        while k > 0 and device[order[k - 1]] == device[row] and ts[order[k - 1]] > ts[row]:
            order[k] = order[k - 1]
            k -= 1
        order[k] = row


@kernel
def scatter_max(target: I8, value: F8, out: F8, twice: B1) -> int:
    """Write each `value` [m] to `out[target]`; of several for one place the largest stays.

    The largest, because that does not depend on the order in which they came. `twice` [m] marks
    values that found their place taken; returns how many.
    """
    n = 0
    for i in range(value.shape[0]):
        v = value[i]
        if np.isnan(v):
            continue
        place = target[i]
        if np.isnan(out[place]):
            out[place] = v
        else:
            twice[i] = True
            n += 1
            if v > out[place]:
                out[place] = v
    return n


@kernel
def scatter_series(column: I4, row: I4, value: F8, out: F8, twice: B1) -> int:
    """Write each `value` [m] to ``out[column, row]``, as `scatter_max` does; column -1: nowhere."""
    n = 0
    for i in range(value.shape[0]):
        c = column[i]
        if c < 0:
            continue
        r, v = row[i], value[i]
        if np.isnan(out[c, r]):
            out[c, r] = v
        else:
            twice[i] = True
            n += 1
            if v > out[c, r]:
                out[c, r] = v
    return n


@kernel
def count_clashes(series: I4, row: I4, labels: I4, order: I8, seen: I8, first: I4) -> int:
    """Return how many readings [m] share series and row with one of other labels.

    `order` [m] goes through them series by series. `seen` [rows] and `first` [rows] are scratch:
    the last series that had a reading in a row, -1 on entry, and the labels of that reading.
    """
    n = 0
    for k in range(order.shape[0]):
        i = order[k]
        r = row[i]
        if seen[r] != series[i]:
            seen[r] = series[i]
            first[r] = labels[i]
        elif first[r] != labels[i]:
            n += 1
    return n


@kernel
def mark_late(device: I4, ts: I8, value: F8, last_ts: I8, late: I1) -> int:
    """Mark values of a series at or before what it has shown: 1 late, 2 duplicate.

    `last_ts` [devices] is updated in place; returns how many were marked in `late` [n].
    """
    n = 0
    for i in range(value.shape[0]):
        if np.isnan(value[i]):
            continue
        d = device[i]
        if ts[i] > last_ts[d]:
            last_ts[d] = ts[i]
        else:
            late[i] = 2 if ts[i] == last_ts[d] else 1
            n += 1
    return n


@kernel
def pin_source(device: I4, candidate: F8, source: I8, pinned: I1, out: F8, chosen: I1) -> int:
    """Collapse the sources of a metric to the one a device showed first.

    `candidate` [s, n] holds the readings of sources `source` [s], best first. Writes the pinned
    source's reading to `out` [n] and its id to `chosen` [n] (-1: it was silent). Returns how many
    rows had only readings of other sources.
    """
    refused = 0
    for i in range(out.shape[0]):
        d = device[i]
        others = False
        for s in range(source.shape[0]):
            v = candidate[s, i]
            if np.isnan(v):
                continue
            if pinned[d] < 0:
                pinned[d] = source[s]
            if pinned[d] == source[s]:
                out[i] = v
                chosen[i] = source[s]
            else:
                others = True
        if others and chosen[i] < 0:
            refused += 1
    return refused


@kernel
def unwrap_counter(
    device: I4,
    value: F8,
    chosen: I1,
    wrap: F8,
    resets: B1,
    previous: F8,
    offset: F8,
    low: F8,
    lows: I1,
    backwards: B1,
) -> int:
    """Make a counter continue across wraps and resets, in place.

    `wrap` and `resets` [s + 1] describe source `chosen` [n] (index -1, the last, for none): after
    how much it wraps (0: never), and whether it starts again at boot. A fall from near the top of
    the range to near its bottom is a wrap (who has been beyond the top does not wrap there); any
    other fall is a reset where the source resets, and otherwise impossible: the value is marked and
    left as it is. `LOWS_TO_BEGIN` such readings that follow each other and do not fall again are
    another counter, which begins where it stands. `low` and `lows` [devices] keep the last of them
    and how many there were. Returns how many were marked.
    """
    n = 0
    for i in range(value.shape[0]):
        v = value[i]
        if np.isnan(v):
            continue
        d = device[i]
        before = previous[d]
        if v < before:
            s = chosen[i]
            if 0.75 * wrap[s] < before < wrap[s] and v < 0.25 * wrap[s]:
                offset[d] += wrap[s]
            elif resets[s]:
                offset[d] += before
            else:
                lows[d] = lows[d] + 1 if lows[d] > 0 and v >= low[d] else 1
                low[d] = v
                if lows[d] < LOWS_TO_BEGIN:
                    backwards[i] = True
                    n += 1
                    continue
                offset[d] = 0.0
        lows[d] = 0
        previous[d] = v
        value[i] = v + offset[d]
    return n


@kernel
def unwrap_reading(device: I4, value: F8, chosen: I1, wrap: F8, previous: F8, offset: F8) -> None:
    """Make a reading that may also fall continue where its byte was too short, in place.

    As `unwrap_counter`, but a fall that is no wrap is a reading like any other, and a leap from
    near the bottom to near the top takes a wrap back.
    """
    for i in range(value.shape[0]):
        v = value[i]
        if np.isnan(v):
            continue
        d = device[i]
        before, width = previous[d], wrap[chosen[i]]
        if 0.75 * width < before < width and v < 0.25 * width:
            offset[d] += width
        elif offset[d] > 0.0 and before < 0.25 * width and v > 0.75 * width:
            offset[d] -= width
        previous[d] = v
        value[i] = v + offset[d]


@kernel
def last_value(device: I4, value: F8, usable: B1, latest: F8) -> None:
    """Write the last usable value [n] of each device into `latest` [devices]."""
    for i in range(value.shape[0]):
        if usable[i] and not np.isnan(value[i]):
            latest[device[i]] = value[i]
