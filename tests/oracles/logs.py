"""Slow, obvious twins of what is kept of log lines. Plain Python only."""

from __future__ import annotations


def novel(lines, warm_ns):
    """Return the templates a device has shown, and those new to it once it was warm.

    `lines` are (ts, template) of one device; template 0 is everything else.
    """
    seen, new = set(), []
    for ts, template in lines:
        if template and template not in seen:
            seen.add(template)
            if ts - lines[0][0] >= warm_ns:
                new.append(template)
    return seen, new


def rhythm(times_s, memory_beats, judged_beats, cut, narrowest, widening, same_beat):
    """Return last beat, beats, mean and variance of intervals of one template's lines."""
    last, beats, mean, variance = times_s[0], 1, 0.0, 0.0
    for ts in times_s[1:]:
        interval = ts - last
        if interval <= 0 or (beats >= 2 and interval < same_beat * mean):
            continue
        if beats > judged_beats:
            interval = min(interval, mean + cut * max(widening * variance**0.5, narrowest * mean))
        share = 1.0 / min(beats, memory_beats)
        off = interval - mean
        mean += share * off
        variance = (1.0 - share) * (variance + share * off * off)
        last, beats = ts, beats + 1
    return last, beats, mean, variance
