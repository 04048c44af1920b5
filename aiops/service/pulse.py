"""How a running service is, from what its API answers: no more than arithmetic on figures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from aiops.service.machine import Look

APART_S = 2.0
"""So far may two clocks be apart."""
BEHIND = 1000
"""Records that may wait to be judged."""
SAVED_S = 2 * 900.0
"""Twice as long as by default until the engine's state is saved."""
WAITS_S = 120.0
"""So long may a message wait for its receiver."""
NAMED = 5
"""So many devices or reasons are named."""
_SAMPLE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

Samples = Mapping[str, Sequence[tuple[Mapping[str, str], float]]]


def samples(text: str) -> Samples:
    """Return the figures of a Prometheus exposition: name -> labels and value of each."""
    found: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    for line in text.splitlines():
        match = None if line.startswith("#") else _SAMPLE.fullmatch(line)
        if match:
            labels = dict(_LABEL.findall(match[2] or ""))
            found.setdefault(match[1], []).append((labels, float(match[3])))
    return found


def ready(status: int, told: Any) -> Look:
    """Say whether a service is ready, from what ``/readyz`` answers."""
    if status == 200:
        return Look("ready", "ok", "it answers and is ready")
    because = told.get("because", "") if isinstance(told, dict) else ""
    if status == 503 and "engine stopped" in because:
        return Look("ready", "FAIL", because, "restart aiops serve; its log on stderr says more")
    if status == 503 and because:
        return Look("ready", "warn", f"not yet: {because}", "wait, and ask again")
    return Look("ready", "FAIL", f"/readyz answers {status}: is this aiops serve?")


def clock(now: str, begun_s: float, ended_s: float) -> Look:
    """Compare the service's clock with this machine's.

    `begun_s` and `ended_s` are this machine's, s since the epoch, around the moment `now`.
    """
    apart = datetime.fromisoformat(now).timestamp() - (begun_s + ended_s) / 2
    found = f"the service's is {abs(apart):.1f} s {'ahead' if apart > 0 else 'behind'}"
    if abs(apart) > APART_S + (ended_s - begun_s) / 2:
        return Look("clocks", "warn", found, "timedatectl set-ntp true, on both machines")
    return Look("clocks", "ok", found)


def silence(items: Sequence[Mapping[str, Any]], heard: int, ask: str) -> Look:
    """Say which devices are silent, from the findings that are open."""
    if not items:
        return Look("silence", "ok", f"nobody is missed; {heard:,} heard since the start")
    named = [str(one.get("device_id") or f"site {one.get('site')}") for one in items]
    more = ", ..." if len(named) > NAMED else ""
    found = f"{len(named):,} missed: {', '.join(named[:NAMED])}{more}"
    return Look("silence", "warn", found, ask.format(path="/v1/findings?rule=silence&current=true"))


def figures(of: Samples, ask: str) -> Iterator[Look]:
    """Look at a service's own figures; `ask` is a command that asks for ``{path}``."""

    def one(name: str) -> float:
        return of[name][0][1] if name in of else 0.0

    behind = int(one("aiops_log_last_seq") - one("aiops_log_judged_seq"))
    found = f"{behind:,} records wait to be judged, {int(one('aiops_log_queued_bytes')):,} B queued"
    if behind > BEHIND:
        yield Look("backlog", "warn", found, "wait; if it grows, send less, or to a faster machine")
    else:
        yield Look("backlog", "ok", found)
    yield _saved(one("aiops_checkpoint_age_seconds"), one("aiops_uptime_seconds"))
    bad = int(one("aiops_log_damaged"))
    whole = Look("log damage", "ok", "none")
    if bad:
        mend = "stop it, then: aiops doctor --data DIR"
        whole = Look("log damage", "FAIL", f"{bad:,} stretches cannot be read", mend)
    yield whole
    for labels, connected in of.get("aiops_mqtt_connected", ()):
        lost = Look("broker", "ok", f"{labels['broker']} is connected")
        if not connected:
            found = f"{labels['broker']} is not reached, or does not let us subscribe"
            lost = Look("broker", "FAIL", found, "see [[mqtt]] and the broker's log")
        yield lost
    yield _erred(of.get("aiops_http_errors_total", ()))
    yield _counted("refused", of.get("aiops_ingest_refused_total", ()), "rows", ask)
    yield _counted("set aside", of.get("aiops_set_aside_total", ()), "values", ask)
    yield from _outbox(of)
    if one("aiops_halted"):
        resume = ask.format(path="/v1/halt").replace("curl", "curl -X PUT -d '{\"halted\": false}'")
        resume += " -H 'Content-Type: application/json'"
        yield Look("halt", "warn", "the halt switch is on: no action leaves", resume)
    else:
        yield Look("halt", "ok", "off")


def _saved(age_s: float, up_s: float) -> Look:
    """Say how long ago the engine's state was saved; if never, the figure counts from the start."""
    found = f"the engine's state was saved {age_s / 60:,.0f} min ago"
    if 0.0 < up_s <= age_s + 1.0:
        found = f"not yet since the start {up_s / 60:,.0f} min ago; a new start replays what came"
    if min(age_s, up_s or age_s) > SAVED_S:
        return Look("saved", "warn", found, "see checkpoint_s and the log on stderr")
    return Look("saved", "ok", found)


def _outbox(of: Samples) -> Iterator[Look]:
    """Say which receivers refuse, or have not taken what waits for them for long."""
    late = {
        labels["outlet"]: age_s
        for labels, age_s in of.get("aiops_outbox_oldest_seconds", ())
        if age_s > WAITS_S
    }
    for outlet, age_s in late.items():
        found = f"{outlet} has not taken what waits for it for {_while(age_s)}"
        mend = "its receiver must answer; aiops doctor --data DIR says what went wrong last"
        yield Look("outlet", "FAIL", found, mend)
    failed = {
        labels["outlet"]: int(n)
        for labels, n in of.get("aiops_outbox", ())
        if labels.get("state") == "failed" and n
    }
    if failed:
        told = ", ".join(f"{n:,} to {outlet}" for outlet, n in failed.items())
        mend = "aiops doctor --data DIR says why; its receiver must take the next"
        yield Look("outbox", "warn", f"refused for good: {told}", mend)
        return
    waiting = sum(n for ls, n in of.get("aiops_outbox", ()) if ls.get("state") == "pending")
    yield Look("outbox", "ok", f"none was refused for good, {int(waiting):,} wait")


def _while(age_s: float) -> str:
    if age_s < 2 * 3600:
        return f"{age_s / 60:,.0f} min"
    return f"{age_s / 3600:,.0f} h" if age_s < 2 * 86_400 else f"{age_s / 86_400:,.0f} days"


def _erred(counts: Sequence[tuple[Mapping[str, str], float]]) -> Look:
    """Say how many requests were answered with an error since the start."""
    most = sorted(
        (
            (int(n), ls["route"], ls["status"])
            for ls, n in counts
            if n and ls["route"] != "readyz"  # it says 503 at every start, as it should
        ),
        reverse=True,
    )
    if not most:
        return Look("requests", "ok", "none was answered with an error")
    told = ", ".join(f"{n:,} {route} {status}" for n, route, status in most[:NAMED])
    mend = "the senders' own logs say what they were answered"
    return Look("requests", "warn", f"answered with an error: {told}", mend)


def _counted(
    name: str, counts: Sequence[tuple[Mapping[str, str], float]], what: str, ask: str
) -> Look:
    """Say how much was turned away since the start, by reason."""
    most = sorted(((int(n), labels["reason"]) for labels, n in counts if n), reverse=True)
    if not most:
        return Look(name, "ok", "nothing since the start")
    told = ", ".join(f"{n:,} {reason}" for n, reason in most[:NAMED])
    found = f"{what} since the start: {told}"
    return Look(name, "warn", found, ask.format(path="/v1/quarantine"))
