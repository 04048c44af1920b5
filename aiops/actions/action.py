"""An action: one thing that should be done to named targets, with its reason and its evidence."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from aiops.alerts.finding import content_id, isoformat
from aiops.errors import ActionError, EmptySelector

Kind = Literal[
    "migrate",
    "cordon",
    "uncordon",
    "drain",
    "schedule_maintenance",
    "hold_rollout",
    "rollback_rollout",
    "notify",
]
KINDS: tuple[Kind, ...] = get_args(Kind)

WILDCARDS = frozenset({"", "*", "all"})


@dataclass(frozen=True)
class Action:
    """A proposal; what may happen now is the guard's to say."""

    kind: Kind
    target: tuple[str, ...]
    """Ids of what is acted on, each named: there is no way to say "all". Kept sorted."""
    reason: str
    """Why, in one plain sentence."""
    evidence: tuple[str, ...]
    """Ids of the findings, incidents or plan it rests on."""
    origin: str
    """Who asks for it: a detector, or ``placement``."""
    issued_ts: int
    expires_ts: int
    """From then on the evidence is stale, ns."""
    params: dict[str, Any] = field(default_factory=dict)
    """What else the doing needs, as plain values."""
    devices: tuple[str, ...] = ()
    """Devices whose service it disturbs; empty: the targets themselves."""
    site: str = ""
    cohort: str = ""
    after: tuple[str, ...] = ()
    """Ids of actions that make it possible: it is not done unless they are."""
    priority: float = 0.0
    """The larger goes first when a budget is short."""
    historical: bool = False
    """Comes of rows whose epoch had closed: kept for the record, never done."""

    def __post_init__(self) -> None:
        wild = sorted(WILDCARDS & {*self.target, *self.devices})
        if not self.target or wild:
            raise EmptySelector(
                f"{self.kind} asks for target {self.target!r} and devices {self.devices!r};"
                " name each target by its id, an empty selector never means everything"
            )
        if self.kind not in KINDS:
            raise ActionError(f"no action is called {self.kind!r}; there are {', '.join(KINDS)}")
        if self.expires_ts <= self.issued_ts:
            raise ActionError(
                f"{self.kind} of {self.target} expires at {self.expires_ts}, not after it was"
                f" issued at {self.issued_ts}; give it a later end"
            )
        if not math.isfinite(self.priority):
            raise ActionError(f"priority is {self.priority}; give a finite number")
        object.__setattr__(self, "target", tuple(sorted(set(self.target))))
        object.__setattr__(self, "devices", tuple(sorted(set(self.devices))))
        object.__setattr__(self, "after", tuple(sorted(set(self.after))))

    @property
    def id(self) -> str:
        """Idempotency key: a function of what is to be done and of the evidence for it."""
        return content_id("act", self.kind, self.target, self.params, sorted(self.evidence))

    @property
    def touched(self) -> tuple[str, ...]:
        """Devices that budgets count."""
        return self.devices or self.target

    def to_record(self) -> dict[str, Any]:
        """Return a dictionary of plain values for sinks."""
        return {
            "id": self.id,
            **asdict(self),
            "target": list(self.target),
            "devices": list(self.devices),
            "evidence": list(self.evidence),
            "after": list(self.after),
            "issued_ts": isoformat(self.issued_ts),
            "expires_ts": isoformat(self.expires_ts),
        }
