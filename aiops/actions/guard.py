"""What may happen now: the engine must never be the outage.

The guard is always on. Its limits can be moved only within `CEILING`, and it has no off switch; a
dry run is a sink. It knows no clock: an hour is an hour of the log times it is given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, NamedTuple, get_args

from aiops.actions.action import KINDS, Action, Kind
from aiops.alerts.finding import content_id, isoformat
from aiops.errors import CheckpointError, SettingsError

SECOND = 1_000_000_000
WINDOW_NS = 3600 * SECOND
"""Over which budgets and brakes count."""
REMEMBER_NS = 30 * 86400 * SECOND
"""For so long no action is allowed twice; sinks, idempotent by id, may remember longer."""
NOTE_NS = 86400 * SECOND
"""How long the note of a brake stays fresh."""

Weight = Literal["move", "disrupt", "plan", "tell"]
WEIGHTS: tuple[Weight, ...] = get_args(Weight)

WEIGHT: dict[Kind, Weight] = {
    "migrate": "move",
    "cordon": "disrupt",
    "uncordon": "plan",
    "drain": "disrupt",
    "schedule_maintenance": "plan",
    "hold_rollout": "plan",
    "rollback_rollout": "disrupt",
    "notify": "tell",
}
"""How much a kind of action disturbs; actions of one weight share a budget."""


@dataclass(frozen=True)
class Limits:
    """Of one weight, within `WINDOW_NS`. Shares are of the devices in the scope."""

    fleet_share: float
    """At most this share of the fleet is acted on,"""
    site_share: float
    """of a site,"""
    cohort_share: float
    """of a cohort,"""
    floor: int
    """though so many always may."""
    brake_fleet_share: float
    """When one origin asks for one kind on more of the fleet, none of it is done; 1: never."""
    brake_site_share: float
    """The same at a site; 1: never."""
    brake_floor: int
    """So many devices never pull the brake."""
    cool_down_s: float
    """A target is left alone for so long after an action of the same kind."""


LIMITS: dict[Weight, Limits] = {
    "move": Limits(0.10, 0.50, 0.50, 10, 0.25, 1.0, 10, 300.0),
    "disrupt": Limits(0.01, 0.10, 0.10, 1, 0.05, 0.20, 5, 3600.0),
    "plan": Limits(0.05, 0.25, 0.25, 5, 0.20, 0.50, 5, 86400.0),
    # A storm is one incident already; who is told of a fault must also be told of its end.
    "tell": Limits(0.10, 1.0, 1.0, 20, 1.0, 1.0, 20, 0.0),
}

CEILING: dict[Weight, Limits] = {
    "move": Limits(0.50, 1.0, 1.0, 100, 0.50, 1.0, 100, 86400.0),
    "disrupt": Limits(0.10, 0.34, 0.34, 10, 0.20, 0.50, 10, 7 * 86400.0),
    "plan": Limits(0.50, 1.0, 1.0, 100, 0.50, 1.0, 100, 30 * 86400.0),
    "tell": Limits(1.0, 1.0, 1.0, 1000, 1.0, 1.0, 1000, 3600.0),
}
"""No setting goes beyond this."""


Scopes = dict[str, dict[str, int]]
"""``fleet``, ``site:NAME`` or ``cohort:NAME`` -> device -> time, ns."""


class Population(NamedTuple):
    """How many devices there are; what is not known counts as none, so that floors apply."""

    fleet: int = 0
    sites: Mapping[str, int] = {}
    cohorts: Mapping[str, int] = {}

    @classmethod
    def of(cls, devices: Iterable[tuple[str, str]]) -> Population:
        """Count devices, each given as its site and its cohort."""
        listed = list(devices)
        return cls(
            len(listed),
            Counter(site for site, _ in listed),
            Counter(cohort for _, cohort in listed),
        )

    def within(self, scope: str) -> int:
        """Return how many devices there are in a scope."""
        where, _, name = scope.partition(":")
        known = {"site": self.sites, "cohort": self.cohorts}.get(where, {})
        return self.fleet if where == "fleet" else known.get(name, 0)


@dataclass
class GuardMemory:
    """What the guard remembers: plain values, so that a checkpoint can keep them as JSON."""

    clock: int = 0
    """Latest log time seen, ns."""
    done: dict[str, int] = field(default_factory=dict)
    """Id of an allowed action -> when it was allowed, ns; kept for `REMEMBER_NS`."""
    acted: dict[str, int] = field(default_factory=dict)
    """``kind target`` -> when it was last acted on, ns."""
    spent: dict[str, Scopes] = field(default_factory=dict)
    """Weight -> scope -> device -> when it was last acted on, ns."""
    asked: dict[str, Scopes] = field(default_factory=dict)
    """``origin kind`` -> scope -> device -> when that was last proposed, ns."""
    braked: dict[str, int] = field(default_factory=dict)
    """``origin kind scope`` -> since when its brake is on, ns."""

    def save(self) -> dict[str, Any]:
        """Return plain values from which `restore` makes this memory again."""
        return asdict(self)

    @classmethod
    def restore(cls, saved: Mapping[str, Any]) -> GuardMemory:
        """Return the memory that was saved.

        Raises
        ------
        CheckpointError
            Something else was saved.
        """
        names = {one.name for one in fields(cls)}
        if set(saved) != names:
            raise CheckpointError(
                f"a guard's memory has {sorted(names)}; found {sorted(saved)}:"
                " it was saved by another version"
            )
        memory = cls(**saved)
        # Copies, so that the memory and what it was made of do not change together.
        return cls(**asdict(memory))


@dataclass(frozen=True)
class Verdict:
    """What the guard says of one action."""

    action: Action
    decision: Literal["allowed", "held"]
    reason: str

    @property
    def allowed(self) -> bool:
        """Whether it may be done now."""
        return self.decision == "allowed"

    def to_record(self) -> dict[str, Any]:
        """Return a dictionary of plain values for sinks."""
        # The same action may be held now and allowed later: both are worth a record.
        return self.action.to_record() | {
            "id": content_id("ver", self.action.id, self.decision, self.reason),
            "action_id": self.action.id,
            "verdict": self.decision,
            "verdict_reason": self.reason,
        }


@dataclass(frozen=True)
class Guard:
    """Says of each action whether it may happen now, and if not, why."""

    limits: Mapping[Weight, Limits] = field(default_factory=lambda: dict(LIMITS))

    def __post_init__(self) -> None:
        if set(self.limits) != set(WEIGHTS):
            raise SettingsError(
                f"guard.limits is for {sorted(self.limits)}; give limits for each of"
                f" {', '.join(WEIGHTS)}: the guard cannot be left out"
            )
        for weight, limits in self.limits.items():
            for name, ceiling in asdict(CEILING[weight]).items():
                value = getattr(limits, name)
                least = 0.0 if name == "cool_down_s" else 1e-6
                if not least <= value <= ceiling:
                    raise SettingsError(
                        f"guard.limits.{weight}.{name} is {value!r}; give {least:g} to {ceiling:g}"
                    )

    def admit(
        self,
        actions: Sequence[Action],
        memory: GuardMemory,
        now_ts: int,
        population: Population | None = None,
    ) -> tuple[Verdict, ...]:
        """Judge `actions` at log time `now_ts`, ns, and remember in `memory`, in place.

        The order of `actions` does not matter: the more urgent is served first, then by id, but no
        action before those that make it possible; when one of them is held, so is it. When a brake
        is pulled, one allowed `notify` that nobody proposed stands among the verdicts.
        """
        size = population or Population()
        memory.clock = max(memory.clock, now_ts)
        self._forget(memory)
        ordered = sorted(actions, key=lambda action: (-action.priority, action.id))
        notes = self._brake(ordered, memory, size)
        verdicts = [self._judge(action, memory, size) for action in _in_turn(ordered)]
        return (*notes, *verdicts)

    def withdraw(
        self,
        action_id: str,
        kind: Kind,
        target: Sequence[str],
        touched: Sequence[str],
        memory: GuardMemory,
    ) -> None:
        """Give back what an action took of the budgets: it was allowed, and is not done after all.

        It is not allowed a second time. Asking again changes nothing.
        """
        allowed_ts = memory.done.get(action_id)
        if allowed_ts is None:
            return
        for scope in memory.spent.get(WEIGHT[kind], {}).values():
            for device in touched:
                if scope.get(device) == allowed_ts:
                    del scope[device]
        for one in target:
            if memory.acted.get(f"{kind} {one}") == allowed_ts:
                del memory.acted[f"{kind} {one}"]

    def _judge(self, action: Action, memory: GuardMemory, size: Population) -> Verdict:
        held = (
            self._unfit(action, memory)
            or self._stranded(action, memory)
            or self._braked(action, memory)
            or self._cooling(action, memory)
            or self._overspent(action, memory, size)
        )
        if held:
            return Verdict(action, "held", held)
        memory.done[action.id] = memory.clock
        for target in action.target:
            memory.acted[f"{action.kind} {target}"] = memory.clock
        _count(memory.spent.setdefault(WEIGHT[action.kind], {}), action, memory.clock)
        return Verdict(action, "allowed", "within budget")

    def _unfit(self, action: Action, memory: GuardMemory) -> str:
        """Say why the action is not to be done at any pace; empty: it is not unfit."""
        if action.id in memory.done:
            return "was allowed before: the same action is not done twice"
        if action.historical:
            return "comes of rows that arrived after their epoch had closed"
        if memory.clock >= action.expires_ts:
            return f"its evidence is stale since {isoformat(action.expires_ts)}"
        return ""

    def _stranded(self, action: Action, memory: GuardMemory) -> str:
        """Say which actions it needs that are not done; those were judged before it."""
        missing = [one for one in action.after if one not in memory.done]
        if not missing:
            return ""
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        return f"needs what {missing[0]}{more} would make possible, which is held"

    def _brake(
        self, actions: Sequence[Action], memory: GuardMemory, size: Population
    ) -> list[Verdict]:
        """Count who asks for what on how many devices; pull and release brakes."""
        fresh = [action for action in actions if not self._unfit(action, memory)]
        for action in fresh:
            if self.limits[WEIGHT[action.kind]].brake_fleet_share < 1.0:
                asked = memory.asked.setdefault(f"{action.origin} {action.kind}", {})
                _count(asked, action, memory.clock)
        pulled: dict[str, int] = {}
        notes: list[Verdict] = []
        for key, asked in sorted(memory.asked.items()):
            origin, _, kind = key.rpartition(" ")
            # "fleet" sorts before "site:": one note says it, and not one more for every site.
            for scope in sorted(asked):
                n, known = len(asked[scope]), size.within(scope)
                if f"{key} fleet" in pulled or not self._too_many(kind, scope, n, known):
                    continue
                name = f"{key} {scope}"
                pulled[name] = memory.braked.get(name, memory.clock)
                if name not in memory.braked:
                    mine = [a for a in fresh if (a.origin, a.kind) == (origin, kind)]
                    evidence = sorted({one for action in mine for one in action.evidence})
                    notes.append(_note(name, n, known, evidence, memory.clock))
        memory.braked = pulled
        return notes

    def _too_many(self, kind: str, scope: str, n: int, known: int) -> bool:
        limits = next(self.limits[WEIGHT[one]] for one in KINDS if one == kind)
        where = scope.partition(":")[0]
        shares = {"fleet": limits.brake_fleet_share, "site": limits.brake_site_share}
        share = shares.get(where, 1.0)
        return share < 1.0 and n > max(limits.brake_floor, share * known)

    def _braked(self, action: Action, memory: GuardMemory) -> str:
        for scope in _scopes(action):
            since = memory.braked.get(f"{action.origin} {action.kind} {scope}")
            if since is not None:
                return (
                    f"brake: since {isoformat(since)} {action.origin} asks for {action.kind} on too"
                    f" much of {scope}"
                )
        return ""

    def _cooling(self, action: Action, memory: GuardMemory) -> str:
        cool_down_ns = int(self.limits[WEIGHT[action.kind]].cool_down_s * SECOND)
        for target in action.target:
            last = memory.acted.get(f"{action.kind} {target}")
            if last is not None and memory.clock < last + cool_down_ns:
                return f"{target} cools down until {isoformat(last + cool_down_ns)}"
        return ""

    def _overspent(self, action: Action, memory: GuardMemory, size: Population) -> str:
        """Say which budget has no room for the devices that it does not count already."""
        limits, spent = self.limits[WEIGHT[action.kind]], memory.spent.get(WEIGHT[action.kind], {})
        shares = {
            "fleet": limits.fleet_share,
            "site": limits.site_share,
            "cohort": limits.cohort_share,
        }
        for scope in _scopes(action):
            used = spent.get(scope, {})
            added = sum(device not in used for device in action.touched)
            share = shares[scope.partition(":")[0]]
            limit = max(limits.floor, int(share * size.within(scope)))
            if added and len(used) + added > limit:
                free_ts = min(used.values(), default=memory.clock) + WINDOW_NS
                return (
                    f"budget: {len(used)} of {limit} devices an hour are spent in {scope}, this"
                    f" needs {added}; next is free at {isoformat(free_ts)}"
                )
        return ""

    def _forget(self, memory: GuardMemory) -> None:
        """Drop what no longer bears on any verdict, so that the memory stays small."""
        start = memory.clock - WINDOW_NS
        longest_ns = int(max(one.cool_down_s for one in self.limits.values()) * SECOND)
        memory.done = {k: ts for k, ts in memory.done.items() if ts + REMEMBER_NS > memory.clock}
        memory.acted = {k: ts for k, ts in memory.acted.items() if ts + longest_ns > memory.clock}
        memory.spent = {key: _since(start, scopes) for key, scopes in memory.spent.items()}
        memory.asked = {key: _since(start, scopes) for key, scopes in memory.asked.items()}


def _in_turn(actions: Sequence[Action]) -> list[Action]:
    """Return `actions` in their order, but none before those that it comes after."""
    waiting: dict[str, list[Action]] = {}
    for action in actions:
        waiting.setdefault(action.id, []).append(action)
    turn: list[Action] = []
    for first in [*waiting]:
        stack = [waiting.pop(first)] if first in waiting else []
        while stack:
            before = next((one for one in stack[-1][0].after if one in waiting), None)
            if before is None:
                turn += stack.pop()
            else:
                stack.append(waiting.pop(before))
    return turn


def _scopes(action: Action) -> list[str]:
    """Return what the action counts for, the widest first."""
    named = {"site": action.site, "cohort": action.cohort}
    return ["fleet", *(f"{where}:{name}" for where, name in named.items() if name)]


def _count(scopes: Scopes, action: Action, ts: int) -> None:
    for scope in _scopes(action):
        scopes.setdefault(scope, {}).update(dict.fromkeys(action.touched, ts))


def _since(start: int, scopes: Scopes) -> Scopes:
    """Return what is later than `start`."""
    kept = {
        scope: {device: ts for device, ts in devices.items() if ts > start}
        for scope, devices in scopes.items()
    }
    return {scope: devices for scope, devices in kept.items() if devices}


def _note(name: str, n: int, known: int, evidence: Sequence[str], now_ts: int) -> Verdict:
    """Return the one message that a brake was pulled."""
    note = Action(
        kind="notify",
        target=(f"brake:{name}",),
        reason=f"{n} of {known or 'an unknown number of'} devices within an hour ({name}): suspect"
        " the detector, a sensor, firmware or a clock; none of it is done",
        evidence=tuple(evidence[:20]),
        origin="guard",
        issued_ts=now_ts,
        expires_ts=now_ts + NOTE_NS,
        params={"since": isoformat(now_ts)},
    )
    return Verdict(note, "allowed", "a brake was pulled")
