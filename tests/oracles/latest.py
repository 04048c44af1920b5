"""Slow, obvious twin of carrying the newest values forward. Plain Python only."""

from __future__ import annotations


def known(rows, stale, every):
    """Give what is known as of each row (time, k values, None: not told), and whether to ask."""
    told, asked = [], None
    for place, (ts, _) in enumerate(rows):
        features = []
        for metric in range(len(rows[0][1])):
            said = [(t, v[metric]) for t, v in rows[: place + 1] if v[metric] is not None]
            fresh = said and ts - said[-1][0] <= stale
            features.append(said[-1][1] if fresh else None)
        ask = None not in features and (asked is None or ts - asked >= every)
        if ask:
            asked = ts
        told.append((features, ask))
    return told
