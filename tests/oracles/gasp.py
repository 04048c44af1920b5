"""Slow, obvious twin of what is remembered of last words and boots. Plain Python only."""

from __future__ import annotations

MINUTE = 60 * 10**9
SECOND = 10**9
WRAPS = (2**32 * 10**6, 2**32 * 10**7)


def keep(kept, share, value, ts):
    """Give the (value, minute) that is kept after one more value."""
    blended = value if kept is None else (1 - share) * kept[0] + share * value
    return blended, ts // MINUTE


class Device:
    """Which boot a device runs on."""

    def __init__(self):
        self.heard = 0
        self.id = self.count = None
        self.booted = self.rebooted = self.said = 0
        self.clock_reset = False

    def row(self, ts, id=None, count=None, uptime_s=None, boot_time_s=None):
        """Take a row; None: not reported."""
        if ts <= self.heard:
            return
        heard, self.heard = self.heard, ts
        if (id, count, uptime_s, boot_time_s) == (None,) * 4:
            return
        unset = boot_time_s is not None and boot_time_s < 978_307_200
        instant = None
        if uptime_s is not None:
            instant = ts - int(uptime_s * 1e9)
        elif boot_time_s is not None and not unset:
            instant = int(boot_time_s * 1e9)
        self.said = ts
        if id is not None and self.id is not None:
            anew = id != self.id
        elif count is not None and self.count is not None:
            anew = count != self.count
        elif instant is None or not heard:
            anew = False
        else:
            slack = max(MINUTE, int(2e-4 * (ts - heard)))
            anew = instant > heard and not self.is_same(instant, slack, uptime_s is not None)
        self.id = self.id if id is None else id
        self.count = self.count if count is None else count
        if anew:
            self.rebooted, self.clock_reset = ts, unset
        if instant is not None:
            self.booted = instant

    def is_same(self, instant, slack, by_uptime):
        """Say whether an instant tells of the boot that is known, also after a counter's wrap."""
        if not self.booted:
            return False
        apart = instant - self.booted
        if apart <= slack:
            return True
        laps = [round(apart / wrap) * wrap for wrap in WRAPS if by_uptime]
        return any(abs(apart - lap) < slack for lap in laps)
