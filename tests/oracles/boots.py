"""Slow, obvious twin of the counting of reboots. Plain Python only."""

from __future__ import annotations

SECOND = 10**9
MINUTE = 60 * SECOND
DAY = 86_400 * SECOND
WRAPS_S = (2**32 / 1000, 2**32 / 100)
SOURCES = ("boot_count", "boot_id", "uptime", "boot_time", "cycles")


def jitter_s(elapsed_s):
    return max(60.0, elapsed_s * 2e-4)


def uptime_says(elapsed_s, old_s, new_s):
    """Give the reboots (0 or 1) that two readings of an uptime tell of."""
    missing_s = elapsed_s - (new_s - old_s)
    slack_s = jitter_s(elapsed_s)
    if missing_s <= slack_s and new_s >= old_s - 10.0:
        return 0
    if new_s > elapsed_s + slack_s:
        return 0  # it ran already when it was last read
    for wrap_s in WRAPS_S:
        if old_s < wrap_s:
            for laps in range(1, 400):
                if abs(missing_s - laps * wrap_s) <= slack_s:
                    return 0
    return 1


def is_set(boot_time_s):
    return boot_time_s >= 978_307_200.0  # 2001-01-01


def lies_between(boot_time_s, start, end):
    return start - 15 * MINUTE < int(boot_time_s * 1e9) <= end + 15 * MINUTE


class Device:
    """What was heard of one device, and what was counted."""

    def __init__(self):
        self.heard = 0  # last row that said something of boots
        self.known = {}  # source -> (value, when)
        self.hours = self.unsafe = None
        self.version = None
        self.version_ts = self.episode_ts = self.planned_ts = 0
        self.window = False
        self.open_s = 0.0
        self.settled = self.reboots = self.planned = self.power = self.software = 0
        self.pending = None  # dictionary of boots, lo, hi, seen, cause

    # -- who says how many --------------------------------------------------------------------

    def claims(self, row):
        """Give source -> reboots, of the sources in the row that have a past."""
        now, said = row["ts"], {}
        for source in SOURCES:
            if source not in row or source not in self.known:
                continue
            old, when = self.known[source]
            new, elapsed_s = row[source], (now - when) * 1e-9
            if source in ("boot_count", "cycles"):
                if new >= old:
                    said[source] = new - old
            elif source == "boot_id":
                said[source] = int(new != old)
            elif source == "uptime":
                said[source] = uptime_says(elapsed_s, old, new)
            else:
                forward = new - old > jitter_s(elapsed_s)
                said[source] = int(forward and lies_between(new, when, now))
        return said

    def believe(self, said):
        """Give the number of reboots, by the best source."""
        if "boot_count" in said or "boot_id" in said:
            boots = max(said.get("boot_count", 0), said.get("boot_id", 0))
        elif "uptime" in said:
            boots = said["uptime"]
        else:
            boots = said.get("boot_time", 0)
        return int(min(65_535, max(boots, said.get("cycles", 0))))

    # -- a row --------------------------------------------------------------------------------

    def see(self, row, gap_s, episode_ns, version_ns):
        now = row["ts"]
        if now <= self.heard:
            return
        row = dict(row)
        if "boot_time" in row and not is_set(row["boot_time"]):
            del row["boot_time"]
        if "version" in row and now > self.version_ts and row["version"] != self.version:
            if self.version is not None:
                self.version_ts = now
                if self.pending and now - self.pending["hi"] <= version_ns:
                    self.take_back()
            self.version = row["version"]

        boots = 0
        before = self.heard
        if any(source in row for source in SOURCES):
            said = self.claims(row)
            boots = self.believe(said)
            lone_drive = "cycles" in said and len(said) == 1
            grown_s = None
            if lone_drive and "on" in row and self.hours is not None:
                grown_s = row["on"] - self.hours
            lost = (
                said.get("cycles", 0) > 0
                and "unsafe" in row
                and self.unsafe is not None
                and row["unsafe"] > self.unsafe
            )
            for source in SOURCES:
                if source in row:
                    self.known[source] = (row[source], now)
                elif source in self.known and boots:
                    if source in ("boot_count", "cycles"):
                        value, when = self.known[source]
                        self.known[source] = (value + boots, when)
                    else:
                        del self.known[source]
            if "cycles" in row:
                self.hours = row.get("on", self.hours)
                self.unsafe = row.get("unsafe", self.unsafe)
            self.heard = now
            away_s = (now - before) * 1e-9
            if boots:
                lo, hi = self.when(row, before)
                if grown_s is not None:
                    ran_s = min(max(grown_s, 0.0), away_s)
                elif boots > 1:
                    ran_s = away_s
                else:
                    ran_s = min(away_s, gap_s + (now - hi) * 1e-9)
                self.open_s += ran_s
                cause = self.cause(row, hi, lost, version_ns)
                self.admit(boots, cause, before, lo, hi, now, episode_ns)
            elif said:
                self.open_s += away_s
            elif before:
                self.open_s += min(away_s, gap_s)
            self.window = False
        if row.get("maintenance", 0) >= 0.5:
            self.window = True
        if not boots and self.pending:
            self.hear_late(row, episode_ns)

    def when(self, row, before):
        """Give between which instants the last boot lies."""
        now = row["ts"]
        if "uptime" in row:
            boot = now - int(row["uptime"] * 1e9)
        elif "boot_time" in row and lies_between(row["boot_time"], before, now):
            boot = int(row["boot_time"] * 1e9)
        else:
            return before, now
        boot = min(max(boot, before + 1), now)
        return max(before, boot - MINUTE), boot

    @staticmethod
    def told(row):
        if row.get("planned", 0) >= 0.5:
            return 1
        return int(row.get("cause", 0))

    def cause(self, row, hi, lost, version_ns):
        near = self.version_ts and abs(hi - self.version_ts) <= version_ns
        if self.window or row.get("maintenance", 0) >= 0.5:
            return 1
        if near or self.version_ts == row["ts"]:
            return 1
        if self.told(row):
            return self.told(row)
        return 2 if lost or row.get("clean", 1) < 0.5 else 0

    def admit(self, boots, cause, before, lo, hi, now, episode_ns):
        """Sort boots into episodes."""
        if cause == 0 and self.planned_ts and hi - self.planned_ts < episode_ns:
            self.planned += boots
            return
        last_ends = self.episode_ts + episode_ns
        if hi < last_ends:
            episodes = []
        else:
            first = max(before + 1, last_ends)
            n = min(boots, (hi - first) // DAY + 1)
            episodes = [1] * (n - 1) + [boots - n + 1]
            self.episode_ts = hi
        if cause == 1:
            self.planned_ts = hi
            self.planned += episodes[-1] if episodes else boots
            episodes = episodes[:-1]
            if not episodes:
                return
            cause, lo, hi = 0, before, hi - 1
        elif not episodes:
            self.reboots += boots
            self.go_on(boots, cause)
            return
        self.reboots += sum(episodes)
        self.settled += len(episodes) - 1 + (self.pending is not None)
        self.pending = {"boots": episodes[-1], "lo": lo, "hi": hi, "seen": now, "cause": cause}
        self.attribute(episodes[-1], cause)

    def go_on(self, boots, cause):
        """Count further boots of the current episode."""
        mine = self.pending
        if mine and mine["hi"] == self.episode_ts:
            if not mine["cause"]:
                self.attribute(mine["boots"], cause)
                mine["cause"] = cause
            mine["boots"] += boots
            cause = mine["cause"]
        self.attribute(boots, cause)

    def attribute(self, boots, cause):
        self.power += boots * (cause == 2)
        self.software += boots * (cause == 3)

    def take_back(self):
        mine, self.pending = self.pending, None
        self.attribute(-mine["boots"], mine["cause"])
        self.reboots -= mine["boots"]
        self.planned += mine["boots"]
        self.planned_ts = max(self.planned_ts, mine["hi"])

    def hear_late(self, row, episode_ns):
        """Take a cause told after the row that showed the boot."""
        mine = self.pending
        last = self.episode_ts == mine["hi"] and self.planned_ts < mine["hi"]
        if mine["cause"] or not last or row["ts"] - mine["seen"] >= episode_ns:
            return
        cause = self.told(row) or (2 if row.get("clean", 1) < 0.5 else 0)
        if cause == 1:
            self.take_back()
        elif cause:
            mine["cause"] = cause
            self.attribute(mine["boots"], cause)


def boots_update(rows, gap_s, episode_ns, version_ns):
    """Give device -> `Device` after all rows.

    `rows` are dictionaries with `device`, `ts` and whichever of `boot_id`, `boot_time`, `uptime`,
    `boot_count`, `planned`, `cause`, `version`, `maintenance`, `clean`, `cycles`, `on`, `unsafe`
    the row reports.
    """
    devices = {}
    for row in rows:
        devices.setdefault(row["device"], Device()).see(row, gap_s, episode_ns, version_ns)
    return devices
