"""What came from a collector, what it was taken for, and what is missing, in words and tables."""

from __future__ import annotations

import ipaddress
import re
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

from rich.text import Text

from aiops.cli.console import count, plain, say, show_table, table

if TYPE_CHECKING:
    from rich.console import Console

NAMED = 5
"""Devices of each kind that are named; --json has all."""
SHOWN = 20
"""Names of each kind that are shown; --json has all."""
NAME_WIDTH = 33
"""So wide is a name in a table before it goes on in another line."""
CLOSE_RATIO = 0.9
"""So alike are two names that one may be meant by the other."""


def show(screen: Console, found: dict[str, Any]) -> None:
    """Print what came, what it was taken for, and what is missing."""
    known = [one for one in found["known"] if one["metrics"]]
    names = len(found["known"]) + len(found["unknown"])
    screen.print()
    say(
        screen,
        f"{_heard(found['devices'])} {len(known):,} of {count(names, 'name')} recognised.",
    )
    local = [one["device_id"] for one in found["devices"]["items"] if _is_local(one["device_id"])]
    if local:
        say(
            screen,
            f"{' and '.join(local)} is no name for a device: every agent that scrapes its own "
            "machine would have it, and all would be one. See docs/protocols.md: for Prometheus, "
            "external_labels: {device_id: gw-17}.",
        )
    shown = table("Recognised", ["metric", "sent as", "values"], ["values"], ["metric", "sent as"])
    for one in known[:SHOWN]:
        metrics = "\n".join(folded(metric) for metric in one["metrics"])
        shown.add_row(_lines(metrics), _lines(folded(one["name"])), f"{one['values']:,}")
    _show(screen, shown, len(known))
    watched = [one for one in found["unknown"] if one.get("watched")]
    shown = table("Watched under its own name", ["sent as", "values"], ["values"], ["sent as"])
    for one in watched[:SHOWN]:
        shown.add_row(_lines(folded(one["name"])), f"{one['values']:,}")
    _show(screen, shown, len(watched))
    unused = [
        (one["name"], one["values"], close(one["name"], one["hint"]))
        for one in found["unknown"]
        if not one.get("watched")
    ]
    unused += [
        (one["name"], one["values"], "known, but not with these labels")
        for one in found["known"]
        if not one["metrics"]
    ]
    shown = table("Not used", ["sent as", "values", ""], ["values"], ["sent as", ""])
    for name, values, hint in unused[:SHOWN]:
        shown.add_row(_lines(folded(name)), f"{values:,}", hint)
    _show(screen, shown, len(unused))
    shown = table("Set aside", ["reason", "count", "why"], ["count"], ["why"])
    for one in found["set_aside"]:
        shown.add_row(one["reason"], f"{one['count']:,}", one["why"])
    show_table(screen, shown)
    screen.print()
    for one in found["detectors"]:
        lacks = " or ".join(" with ".join(group) for group in one["lacks"])
        here = len(one["has"]) > len(one["elsewhere"]) or not one["has"]
        has = "has what it needs" if here else "has what it needs from elsewhere, and not from this"
        said = f"lacks {lacks}: {one['add']}" if lacks else has
        say(screen, f"{one['detector']} {said}.")


def _heard(devices: dict[str, Any]) -> str:
    """Say which devices came, those first that were not heard before."""
    came = [one["device_id"] for one in devices["items"]]
    new = devices.get("new")
    if new is None:
        return f"Samples came from {count(devices['count'], 'device')}: {_some(came)}."
    known = [one for one in came if one not in set(new)]
    told = [
        f"{_some(new)} {'was' if len(new) == 1 else 'were'} not heard before." if new else "",
        f"{_some(known)} {'was' if len(known) == 1 else 'were'} heard before." if known else "",
    ]
    if not new:
        told.append("If another was to come, it has not: name it with --device.")
    begun = f"{'First samples' if new else 'Samples'} came"
    return " ".join([f"{begun} from {count(devices['count'], 'device')}.", *filter(None, told)])


def _some(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")


def _is_local(device: str) -> bool:
    if device.lower().partition(".")[0] == "localhost":
        return True
    try:
        return ipaddress.ip_address(device).is_loopback
    except ValueError:
        return False


def folded(name: str) -> str:
    """Return a long name in lines of at most `NAME_WIDTH`, broken behind what joins its words."""
    lines = [""]
    for part in re.findall(r"[^_.:/-]*[_.:/-]|[^_.:/-]+", name):
        if lines[-1] and len(lines[-1]) + len(part) > NAME_WIDTH:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _lines(text: str) -> Text:
    return Text("\n").join(plain(line) for line in text.split("\n"))


def close(name: str, hint: str) -> str:
    """Return a hint without the names that hardly are meant: those of other words."""
    _, _, told = hint.partition("did you mean ")
    meant = [
        one
        for one in told.rstrip("?").split(" or ")
        if one
        and (_words(one) == _words(name) or SequenceMatcher(None, name, one).ratio() > CLOSE_RATIO)
    ]
    return f"did you mean {' or '.join(meant)}?" if meant else ""


def _words(name: str) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z0-9]+", name.lower()))


def _show(screen: Console, shown: Any, n: int) -> None:
    show_table(screen, shown)
    if n > SHOWN:
        screen.print(plain(f"... and {n - SHOWN:,} more: --json has all"))
