"""Silences: whom they match, and when. A maintenance window is a silence that is planned.

What is silenced is found, recorded and grouped as always; it is marked, and nobody is paged. What
is critical is silenced only by a silence that says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aiops.alerts.finding import content_id, isoformat
from aiops.errors import SettingsError
from aiops.fleet.attributes import Attributes
from aiops.kernels.rows import B1

SECOND_NS = 1_000_000_000
MATCHER = re.compile(r"\s*([A-Za-z_][\w.-]*)\s*(=~|!~|!=|=)\s*(.*)", re.DOTALL)
EVERY_S = {"day": 86_400, "week": 604_800}
Every = Literal["", "day", "week"]
MATCHERS_MOST = 20
TEXT_MOST = 256
"""Characters of a matcher."""
LONGEST_S = 366 * 86_400.0
"""A silence that is forgotten should not last for ever; one that comes again may."""


@dataclass(frozen=True)
class Matcher:
    """``name=value``, ``name!=value``, ``name=~regex`` or ``name!~regex``, as of Alertmanager.

    Names are ``rule``, ``severity``, ``device`` or an attribute of devices (``site``, ``cohort``,
    ``firmware`` ...); what is not known is empty. A regular expression (RE2) matches the whole.
    """

    name: str
    sign: Literal["=", "!=", "=~", "!~"]
    value: str

    @classmethod
    def parse(cls, text: str) -> Matcher:
        """Return the matcher that a text says.

        Raises
        ------
        SettingsError
            It is none, or its regular expression is none.
        """
        found = MATCHER.fullmatch(text)
        if found is None or len(text) > TEXT_MOST or not _is_text(text):
            raise SettingsError(
                f"{text[:TEXT_MOST]!r} matches nothing; give name=value, name!=value, name=~regex "
                f"or name!~regex, of at most {TEXT_MOST} characters"
            )
        name, sign, value = found.groups()
        matcher = cls(name, sign, value.strip().strip('"'))  # type: ignore[arg-type]
        try:
            matcher.matches([""])
        except pa.ArrowInvalid as error:
            raise SettingsError(f"{value!r} is no regular expression (RE2): {error}") from error
        return matcher

    def __str__(self) -> str:
        return f"{self.name}{self.sign}{self.value}"

    def matches(self, texts: Sequence[str]) -> B1:
        """Return [len(texts)] which of them it matches; in time linear in their length."""
        told = pa.array(texts, pa.string())
        if self.sign in ("=~", "!~"):
            found = pc.match_substring_regex(told, f"^(?:{self.value})$")
        else:
            found = pc.equal(told, self.value)
        equal: B1 = found.to_numpy(zero_copy_only=False).astype(np.bool_)
        return ~equal if self.sign.startswith("!") else equal


@dataclass(frozen=True)
class Silence:
    """Nobody is paged for what all matchers match, from then until then, once or repeatedly."""

    matchers: tuple[str, ...]
    from_ts: int
    """ns"""
    until_ts: int
    """ns; of the first time, if it comes again."""
    author: str
    comment: str = ""
    every: Every = ""
    """Comes again each day or week at the same time of UTC: a maintenance window."""
    critical: bool = False
    """Silences what is critical, too."""
    ended_ts: int | None = None
    """Somebody ended it then; None: nobody has."""

    def __post_init__(self) -> None:
        if not 0 < len(self.matchers) <= MATCHERS_MOST:
            raise SettingsError(
                f"a silence needs 1 to {MATCHERS_MOST} matchers; got {len(self.matchers)}"
            )
        if self.every not in ("", *EVERY_S):
            raise SettingsError(f"a silence comes again every day or week; got {self.every!r}")
        longest = EVERY_S.get(self.every, LONGEST_S) * SECOND_NS
        if not 0 < self.until_ts - self.from_ts <= longest:
            raise SettingsError(
                f"a silence must end after it begins, and within {longest / 86_400e9:g} days; got "
                f"{isoformat(self.from_ts)} until {isoformat(self.until_ts)}"
            )
        for text in self.matchers:
            Matcher.parse(text)
        if not any(matcher.value and matcher.sign == "=" for matcher in self.parsed) and not any(
            matcher.sign == "=~" and not matcher.matches([""])[0] for matcher in self.parsed
        ):
            raise SettingsError(
                "a silence must not match everything: one matcher at least must be name=value, or "
                "name=~regex that does not match the empty text"
            )

    @property
    def id(self) -> str:
        """Name of the silence: a function of content, and the same when somebody has ended it."""
        return content_id("sil", *list(asdict(self).values())[:-1])

    @property
    def parsed(self) -> tuple[Matcher, ...]:
        """The matchers."""
        return _parsed(self.matchers)

    def holds(self, ts: int) -> bool:
        """Say whether it is in force at `ts`, ns."""
        if ts < self.from_ts or (self.ended_ts is not None and ts >= self.ended_ts):
            return False
        since = ts - self.from_ts
        if self.every:
            since %= EVERY_S[self.every] * SECOND_NS
        return since < self.until_ts - self.from_ts

    def over(self, ts: int) -> bool:
        """Say whether it will never be in force again after `ts`."""
        ended = self.ended_ts is not None and ts >= self.ended_ts
        return ended or (not self.every and ts >= self.until_ts)

    def heeds(self, severity: str, rules: Sequence[str]) -> bool:
        """Say whether it matches a severity and all of these rules."""
        if severity == "critical" and not self.critical:
            return False
        return all(
            bool(matcher.matches([severity] if matcher.name == "severity" else rules).all())
            for matcher in self.parsed
            if matcher.name in ("severity", "rule")
        )

    def covers(self, attributes: Attributes) -> B1:
        """Return [devices] whom it matches, by their ids and attributes."""
        found = np.ones(len(attributes.place), np.bool_)
        for matcher in self.parsed:
            if matcher.name in ("severity", "rule"):
                continue
            if matcher.name == "device":
                found &= matcher.matches(list(attributes.place))
            elif matcher.name in attributes.name:
                a = attributes.name.index(matcher.name)
                # The last one is of those whose value is not known: their code is -1.
                found &= matcher.matches([*attributes.value[a], ""])[attributes.code[a]]
            else:
                found &= bool(matcher.matches([""])[0])
        return found

    def to_record(self, ts: int) -> dict[str, Any]:
        """Return a dictionary of plain values, with its state at `ts`."""
        state = "active" if self.holds(ts) else "expired" if self.over(ts) else "pending"
        names = ("from_ts", "until_ts", "ended_ts")
        times = {name: isoformat(getattr(self, name)) for name in names}
        return {"id": self.id, **asdict(self), **times, "state": state}

    @classmethod
    def said(cls, said: Mapping[str, Any], author: str, ts: int) -> Silence:
        """Return the silence that `author` asked for at `ts`.

        `said` has ``matchers``; ``from`` and ``until`` (RFC 3339; by default `ts`, and ``for_s``
        seconds later); ``every``, ``critical`` and ``comment``.

        Raises
        ------
        SettingsError
            There must be no such silence.
        """
        begin = _ns(said["from"], "from") if said.get("from") else ts
        if said.get("until"):
            end = _ns(said["until"], "until")
        else:
            end = begin + int(said.get("for_s") or 0) * SECOND_NS
        return cls(
            matchers=tuple(said["matchers"]),
            from_ts=begin,
            until_ts=end,
            author=author,
            comment=said.get("comment", ""),
            every=said.get("every", ""),
            critical=said.get("critical", False),
        )

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Silence:
        """Return the one whose fields were saved."""
        return cls(**{**plain, "matchers": tuple(plain["matchers"])})


@lru_cache(maxsize=1024)
def _parsed(matchers: tuple[str, ...]) -> tuple[Matcher, ...]:
    return tuple(map(Matcher.parse, matchers))


def _is_text(text: str) -> bool:
    """Say whether a text has no half characters."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _ns(text: str, name: str) -> int:
    """Return a time of RFC 3339 as ns."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(f"{name} is {text!r}; give a time like 2026-12-01T22:00:00Z") from error
    if moment.tzinfo is None:
        raise SettingsError(f"{name} is {text!r}; say the time zone, such as Z for UTC")
    if not 2000 <= moment.year < 2200:
        raise SettingsError(f"{name} is {text!r}; give a year from 2000 to 2199")
    return int(moment.timestamp()) * SECOND_NS
