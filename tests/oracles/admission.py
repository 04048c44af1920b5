"""Slow, obvious twins of the kernels of admission. Plain Python only."""

from __future__ import annotations

import math

NO_TIME = -(2**63)


def advance_clock(rows, epoch, lateness, end_lead):
    """Give (first open epoch, vouched time) after each row (root, ts, recv), or None for no time.

    Written from the rule, not from the kernel: after each row everything is worked out again from
    all rows so far.
    """
    out = []
    watermark = None
    first_open = None
    for n in range(1, len(rows) + 1):
        best_of = {}
        stamped = None
        for root, ts, recv in rows[:n]:
            if recv is not None:
                stamped = recv if stamped is None else max(stamped, recv)
            elif ts is not None:
                best_of[root] = max(best_of.get(root, ts), ts)
        root, ts, recv = rows[n - 1]
        end = root < 0 and ts is None and recv is None
        times = sorted(best_of.values(), reverse=True)
        candidates = [t for t in (watermark, stamped) if t is not None]
        if len(times) == 1 and end:
            candidates.append(times[0])
        if len(times) > 1:
            believed = end and times[0] - times[1] <= end_lead
            candidates.append(times[0] if believed else times[1])
        watermark = max(candidates, default=None)
        if watermark is not None:
            opened = watermark // epoch + 1 if end else (watermark - lateness) // epoch
            first_open = opened if first_open is None else max(first_open, opened)
        vouches = [t for t in (stamped, times[1] if len(times) > 1 else None) if t is not None]
        out.append((first_open, max(vouches, default=None)))
    return out


def group_rows(device, ts):
    """Stable order by device, then time."""
    return sorted(range(len(device)), key=lambda i: (device[i], ts[i]))


def scatter_max(targets, values, size):
    """Largest value of each place, and which values found their place taken."""
    out = [math.nan] * size
    twice = []
    for place, value in zip(targets, values, strict=True):
        taken = not math.isnan(out[place]) and not math.isnan(value)
        twice.append(taken)
        if not math.isnan(value):
            out[place] = max(out[place], value) if taken else value
    return out, twice


def scatter_series(columns, rows, values):
    """Largest value of each (column, row), and which values found theirs taken; -1: nowhere."""
    out = {}
    twice = []
    for key, value in zip(zip(columns, rows, strict=True), values, strict=True):
        taken = key[0] >= 0 and key in out
        twice.append(taken)
        if key[0] >= 0:
            out[key] = max(out[key], value) if taken else value
    return out, twice


def clashes(series, rows, labels):
    """Say whether any two readings of one series and row have other labels."""
    readings = list(zip(series, rows, labels, strict=True))
    return any(a[:2] == b[:2] and a[2] != b[2] for a in readings for b in readings)


def mark_late(device, ts, value, last):
    """Mark what comes at or before its series' last instant."""
    marks = []
    for d, t, v in zip(device, ts, value, strict=True):
        mark = 0
        if not math.isnan(v):
            if t > last[d]:
                last[d] = t
            else:
                mark = 2 if t == last[d] else 1
        marks.append(mark)
    return marks


def pin_source(device, readings, sources, pinned):
    """Follow the first source a device shows; readings is a list of {source: value} per row."""
    out, chosen, refused = [], [], 0
    for d, row in zip(device, readings, strict=True):
        shown = [s for s in sources if s in row]
        if d not in pinned and shown:
            pinned[d] = shown[0]
        mine = pinned.get(d)
        out.append(row.get(mine, math.nan))
        chosen.append(mine if mine in row else -1)
        refused += bool(shown) and mine not in row
    return out, chosen, refused


def unwrap_counter(device, value, wrap, resets):
    """Continue each device's counter across wraps and resets; None where it is impossible.

    The third reading in a row that is impossible, if they do not fall, is a new beginning.
    """
    before, total, refused, out = {}, {}, {}, []
    for d, v in zip(device, value, strict=True):
        if math.isnan(v):
            out.append(v)
            continue
        if d in before and v < before[d]:
            top = before[d] / wrap if wrap > 0 else math.inf
            if 0.75 < top < 1 and v / wrap < 0.25:
                total[d] = total.get(d, 0.0) + wrap
            elif resets:
                total[d] = total.get(d, 0.0) + before[d]
            else:
                series = refused.get(d, [])
                refused[d] = [*series, v] if series and v >= series[-1] else [v]
                if len(refused[d]) < 3:
                    out.append(None)
                    continue
                total[d] = 0.0
        refused[d] = []
        before[d] = v
        out.append(v + total.get(d, 0.0))
    return out


def unwrap_reading(device, value, wrap):
    """Continue each device's reading across wraps in both directions; other falls are real."""
    before, turns, out = {}, {}, []
    for d, v in zip(device, value, strict=True):
        if not math.isnan(v):
            old = before.get(d, -math.inf)
            if wrap > 0 and 0.75 * wrap < old < wrap and v < 0.25 * wrap:
                turns[d] = turns.get(d, 0) + 1
            elif turns.get(d, 0) > 0 and old < 0.25 * wrap and v > 0.75 * wrap:
                turns[d] -= 1
            before[d] = v
        out.append(v + turns.get(d, 0) * wrap)
    return out
