"""Engine.step: a frame of telemetry in, justified and guarded actions out, and nothing else.

No clock, no randomness, no network, no disk: time comes from the data, and the world is
`engine.ports`. Whatever is judged across devices is judged when an epoch closes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from aiops.actions.action import Action
from aiops.actions.guard import Guard, GuardMemory, Population, Verdict
from aiops.actions.policy import Policy
from aiops.alerts.budget import Rate, Realised, split
from aiops.alerts.feedback import Feedback, FeedbackSettings
from aiops.alerts.finding import Finding, Incident, fingerprint
from aiops.alerts.incident import Grouping, Opened
from aiops.alerts.life import Life, LifeSettings
from aiops.alerts.rule import AlertRule
from aiops.alerts.selection import EDetector, Selection
from aiops.detectors import EVERY_METRIC, defaults
from aiops.detectors.protocol import Detector
from aiops.engine.conditions import READS, ConditionOwner, conditions_of, remember
from aiops.engine.forecasts import foretold
from aiops.engine.step import Scored, Step, joined
from aiops.engine.watch import Watch, Watched, watching
from aiops.errors import CheckpointError, SettingsError
from aiops.fleet.attributes import Known
from aiops.fleet.inventory import Inventory
from aiops.fleet.owner import Epoch
from aiops.fleet.state import ClosedEpoch, FleetState
from aiops.kernels.rows import B1, I4, Rows, Scores
from aiops.placement.plan import Plan
from aiops.placement.problem import PlacementProblem, pose
from aiops.placement.solver import PlacementMemory, revert, solve
from aiops.placement.topology import PlacementSettings, resolve
from aiops.telemetry.batch import TelemetryBatch
from aiops.telemetry.frame import read_frame
from aiops.telemetry.layout import Layout
from aiops.telemetry.normalise import normalise
from aiops.telemetry.vocabulary import VOCABULARY

__all__ = ["Engine", "Scored", "Step", "default_rules"]

DEFAULT_SELECTION = Selection()
OPEN_METRICS_MAX = 200


def default_rules(alarm_budget: float | None = None) -> tuple[AlertRule, ...]:
    """Return one rule for each of `defaults`; their budgets add up to `alarm_budget`."""
    return split([AlertRule(detector) for detector in defaults()], alarm_budget)


class Engine:
    """Frozen settings, and the state they act on.

    Parameters
    ----------
    rules
        What becomes a finding; a detector named by several rules is run once.
    watch
        Makes the detector of each metric that arrives and that the vocabulary does not exclude.
        None: with the default rules `EVERY_METRIC`, and with rules of one's own no other metric is
        watched.
    open_metrics_max
        How many metrics that nobody knows are watched under the name they came by.
    inventory
        Nodes and workloads; without workloads nothing is placed.
    placement
        What a move must pay for, and how long a workload stays where it was put.
    selection
        How much more evidence a large fleet asks for, of detectors that can be compared; None
        leaves it at each device's own budget.
    grouping
        When many findings are one incident.
    life
        How patient one is with incidents that come and go.
    feedback
        Which findings labels may hold, once somebody applies them.
    policy
        What is proposed for findings, incidents and plans.
    guard
        What of it may happen now.
    layout
        Names of the device, time and metric columns where they cannot be guessed.
    epoch_s
        Length of an epoch of event time, seconds.
    lateness_s
        How long an epoch waits for rows that are late, seconds.
    scores_of
        Detectors whose scores a step returns, by name; None: all. They take memory by the row.
    """

    def __init__(
        self,
        rules: Sequence[AlertRule] | None = None,
        *,
        watch: Watch | None = None,
        open_metrics_max: int = OPEN_METRICS_MAX,
        inventory: Inventory | None = None,
        placement: PlacementSettings | None = None,
        selection: Selection | None = DEFAULT_SELECTION,
        grouping: Grouping | None = None,
        life: LifeSettings | None = None,
        feedback: FeedbackSettings | None = None,
        policy: Policy | None = None,
        guard: Guard | None = None,
        layout: Mapping[str, str] | None = None,
        epoch_s: int = 60,
        lateness_s: int = 120,
        scores_of: Collection[str] | None = None,
    ) -> None:
        if open_metrics_max < 0:
            raise SettingsError(f"open_metrics_max must be 0 or more; got {open_metrics_max}")
        self.given = tuple(default_rules() if rules is None else rules)
        if rules is None and watch is None:
            self.given, watch = watching(self.given, EVERY_METRIC, None)
        self.watch = watch
        self._watched = Watched(watch)
        self._arrange()
        names = [rule.name for rule in self.rules]
        if len(set(names)) < len(names):
            raise SettingsError(f"each rule needs a name of its own; got {', '.join(names)}")
        if epoch_s < 1 or lateness_s < 0:
            raise SettingsError(
                f"epoch_s must be 1 or more and lateness_s 0 or more; got {epoch_s}, {lateness_s}"
            )
        doubled = [name for name, n in Counter(d.name for d in self.detectors).items() if n > 1]
        if doubled:
            raise SettingsError(
                f"rules name {doubled[0]} with different settings; memory is filed by name, so "
                f"one engine runs one of them: use the same settings, or two engines"
            )
        self.inventory = inventory or Inventory()
        self.placement = placement or PlacementSettings()
        self.selection = selection
        self.grouping = grouping or Grouping()
        self.life = Life(life)
        self.feedback = Feedback(feedback)
        self.policy = policy or Policy()
        self.guard = guard or Guard()
        self.layout, self._scores_of = dict(layout or {}), scores_of
        tracked = {
            name
            for detector in self.detectors
            for name in (*detector.reads, *getattr(detector, "also_reads", ()))
        }
        if self.inventory.workloads:
            tracked.update(READS.values())
        if watch is not None:
            tracked.update(metric.name for metric in VOCABULARY.values() if metric.watched)
        most = 0 if watch is None else open_metrics_max
        self.fleet = FleetState(tracked, self.inventory, epoch_s, lateness_s, most)
        self._attributes = Known(self.fleet.registry, self.inventory)
        self._wanted = self.fleet.series.wanted()
        self._firing: dict[str, Finding] = {}
        self._opened: Opened = {}
        self._topology = resolve(self.inventory)
        self._placement: PlacementMemory | None = None
        self._guarded = GuardMemory()
        self._realised = Realised()

    def step(self, frame: Any) -> Step:
        """Take a frame in log order; return the results of all epochs it closes.

        Parameters
        ----------
        frame
            Anything with ``__arrow_c_stream__``; see `telemetry.layout` for its columns.

        Raises
        ------
        FrameError
            No device or time column can be found. What is wrong with single rows or
            values never raises: it is set aside, counted and returned.
        """
        table = read_frame(frame)
        layout = _layout(table.schema, tuple(self.layout.items()))
        frame = normalise(table, layout, self._wanted, open_metrics=self.fleet.opened.most > 0)
        admitted = self.fleet.admit(frame)
        return joined([self._judge(closed) for closed in admitted.epochs])

    def _arrange(self) -> None:
        """Put the rules together: those given, and those of the metrics that are watched."""
        self.rules = (*self.given, *self._watched.rules())
        self._rules_of: dict[Detector[Any], list[AlertRule]] = {}
        for rule in self.rules:
            self._rules_of.setdefault(rule.detector, []).append(rule)
        self.detectors: tuple[Detector[Any], ...] = tuple(self._rules_of)

    @property
    def watched(self) -> tuple[str, ...]:
        """The metrics that are watched because they arrived, first come first."""
        return tuple(self._watched.metrics)

    def _judge(self, closed: ClosedEpoch) -> Step:
        """Judge one closed epoch: scores, findings, incidents, plan, actions."""
        epoch, batch = closed.epoch, closed.batch
        renamed = self._forget(closed.renamed, epoch) if closed.renamed else []
        taken = [rule.detector.name for rule in self.given]
        if self._watched.add(closed.watched, taken):
            self._arrange()
        scored, findings = self._detect(epoch, batch)
        findings = renamed + findings
        findings = self.feedback.weigh(findings, self._firing)
        shared = self._attributes.at(epoch.size) if findings or self.life.silences else None
        findings = self.life.mark(findings, self._firing, epoch.end, shared)
        for finding in findings:
            if finding.status == "firing":
                self._firing[finding.fingerprint] = finding
            else:
                self._firing.pop(finding.fingerprint, None)
        incidents: Sequence[Incident] = ()
        heeded = [finding for finding in findings if not finding.held]
        watched = int(np.count_nonzero(epoch.devices))
        self._realised.count(heeded, epoch.start, epoch.end, watched)
        if heeded:
            sizes = self._site_sizes(epoch)
            incidents = self.grouping.group(heeded, self._opened, sizes, epoch.end, shared)
        incidents = self.life.follow(incidents, self._opened, epoch.end, shared)
        plan = self._place(epoch, batch)
        verdicts: Sequence[Verdict] = ()
        if incidents or heeded or (plan is not None and plan.moves):
            aloud = [incident for incident in incidents if not incident.quiet]
            actions = self.policy.decide(aloud, heeded, plan, firing=self._heeded())
            verdicts = self.guard.admit(actions, self._guarded, epoch.end, self._population(epoch))
        self._stay(plan, verdicts)
        return Step(
            findings=tuple(findings),
            incidents=tuple(incidents),
            plans=(plan,) if plan is not None and plan.moves else (),
            verdicts=tuple(verdicts),
            set_aside=closed.set_aside,
            scored=tuple(scored),
            epochs=(epoch,),
        )

    def _detect(self, epoch: Epoch, batch: TelemetryBatch) -> tuple[list[Scored], list[Finding]]:
        """Run each distinct detector once over the epoch, and each rule over its scores."""
        names = self.fleet.registry.identities
        stays = np.ones(epoch.size, dtype=np.bool_)
        stays[epoch.replaced] = False  # who has left neither fires nor asks for anything
        left = self._retire(epoch)
        scored: list[Scored] = []
        findings: list[Finding] = []
        for detector in self.detectors:
            shown = batch.reporting(detector.reads, getattr(detector, "also_reads", ()))
            if not (len(shown) or self.fleet.remembers(detector)):
                continue  # nobody has ever reported what it reads: it needs no memory
            memory = self.fleet.recall(detector)
            rules = self._rules_of[detector]
            if len(shown):
                scores = detector.update(memory, shown)
                if self._scores_of is None or detector.name in self._scores_of:
                    scored.append(Scored(detector.name, shown, scores, names))
                usable = stays[shown.device] & ~shown.historical
                for rule in rules:
                    believed = usable & self._believed(rule, memory, epoch, shown.device, scores)
                    findings += self._advance(rule, memory, shown.rows, scores, believed)
            closing = detector.close(memory, epoch)
            if closing is not None:
                for rule in rules:
                    findings += self._advance(rule, memory, epoch.rows, closing, stays)
            for shared in detector.shared(memory, epoch):
                findings += [rule.of_group(shared, self.fleet.registry) for rule in rules]
        for some in (left, findings):
            some.sort(key=_order)
        return scored, left + findings

    def _believed(
        self, rule: AlertRule, memory: Any, epoch: Epoch, device: I4, scores: Scores
    ) -> B1:
        """Return [n] which rows may page: not those over the line whose device is not selected.

        Such a device neither fires nor clears; if it fires already, it goes on.
        """
        over = scores.score >= rule.line
        if self.selection is None or not over.any() or not isinstance(rule.detector, EDetector):
            return np.ones(len(device), dtype=np.bool_)
        evidence = rule.detector.log_evidence(memory, epoch.size)
        selected = self.selection.select(evidence, rule.detector.bin_s)
        believed: B1 = ~over | selected[device]
        return believed

    def _retire(self, epoch: Epoch) -> list[Finding]:
        """Resolve what fires on media that have been replaced: they left, they did not recover."""
        if not len(epoch.replaced):
            return []
        identities, media = self.fleet.registry.identities, self.fleet.media
        resolved = []
        for rule in self.rules:
            for index in rule.retire(self.fleet.recall(rule.owner), epoch.replaced).tolist():
                fired = self._firing[fingerprint(rule.name, *identities[index])]
                by = media.successor(index)[2]
                resolved.append(_left(fired, epoch.end, f"The medium was replaced by {by}."))
        return resolved

    def _forget(self, metrics: Sequence[str], epoch: Epoch) -> list[Finding]:
        """Forget metrics that now come under longer names; resolve what fires of them."""
        resolved = []
        for rule in self._watched.remove(metrics):
            self.fleet.forget(rule.detector)
            self.fleet.forget(rule.owner)
            resolved += [
                _left(fired, epoch.end, "More labels name the metric now.")
                for fired in self._firing.values()
                if fired.rule == rule.name
            ]
        self._arrange()
        return sorted(resolved, key=_order)

    def _advance(
        self, rule: AlertRule, memory: Any, rows: Rows, scores: Scores, usable: B1
    ) -> list[Finding]:
        phases = self.fleet.recall(rule.owner)
        found = rule.advance(phases, memory, rows, scores, usable, self.fleet.registry)
        return [self._quoted(finding) for finding in found]

    def _quoted(self, finding: Finding) -> Finding:
        """Return a finding that is of a log template with its words: detectors know its number."""
        template = finding.evidence.get("template", -1.0)
        if not 0.0 <= template < len(self.fleet.logs.templates):
            return finding
        words = self.fleet.logs.templates.quote(int(template))
        return replace(finding, sentence=f"{finding.sentence} {words}")

    def _place(self, epoch: Epoch, batch: TelemetryBatch) -> Plan | None:
        """Solve placement for the conditions as the epoch closes, if there is anything to place."""
        if not self.inventory.workloads:
            return None
        remember(self.fleet.recall(ConditionOwner()), batch)
        problem = self._pose(epoch.size, epoch.clock, epoch.end)
        if problem is None:
            return None
        plan, self._placement = solve(problem, self._placement)
        return plan

    def plan(self) -> Plan | None:
        """Return what placement says of the fleet as the last epoch left it; None: nothing yet.

        Made anew from places, prices and conditions as they stand. Nothing is changed by asking.
        """
        if self._placement is None:
            return None
        end = int(self._placement.ts[0])
        problem = self._pose(len(self.fleet.registry), min(end, self.fleet.clock), end)
        return None if problem is None else solve(problem, self._placement)[0]

    def propose(self, actions: Sequence[Action], ts: int) -> tuple[Verdict, ...]:
        """Judge what somebody else proposes at log time `ts`, ns, by the same guard and budgets."""
        registry = self.fleet.registry
        size = len(registry)
        everybody = Epoch(
            ts,
            ts,
            ts,
            size,
            registry.root,
            registry.site,
            registry.cohort,
            self.fleet.media.replaced,
        )
        return tuple(self.guard.admit(actions, self._guarded, ts, self._population(everybody)))

    def withdraw(self, record: Mapping[str, Any]) -> None:
        """Give back what an action (by its record) took of the budgets, as somebody rejected it."""
        touched = record["devices"] or record["target"]
        self.guard.withdraw(
            record["action_id"], record["kind"], record["target"], touched, self._guarded
        )

    def _pose(self, size: int, clock: int, end: int) -> PlacementProblem | None:
        """Pose placement to `size` identities at `clock`, as the epoch ending at `end` closes."""
        last = self.fleet.recall(ConditionOwner())
        return pose(
            conditions_of(self.inventory, self.fleet.registry, last, size, clock),
            self._heeded(),
            self._topology,
            self._placement,
            end,
            self.placement,
        )

    def _heeded(self) -> list[Finding]:
        """Return what fires and is not held."""
        return [finding for finding in self._firing.values() if not finding.held]

    def _stay(self, plan: Plan | None, verdicts: Sequence[Verdict]) -> None:
        """Let placement know which of its moves the guard held: those workloads did not move."""
        kept = frozenset(
            target
            for verdict in verdicts
            if not verdict.allowed and verdict.action.kind == "migrate"
            for target in verdict.action.target
        )
        if plan is not None and self._placement is not None and kept:
            self._placement = revert(self._placement, plan, kept)

    def _site_sizes(self, epoch: Epoch) -> dict[str, int]:
        """Return how many devices each site has."""
        names = self.fleet.registry.sites
        sizes = np.bincount(epoch.site[epoch.devices & (epoch.site >= 0)], minlength=len(names))
        return dict(zip(names, sizes.tolist(), strict=True))

    def _population(self, epoch: Epoch) -> Population:
        """Return how many devices budgets are shares of."""
        registry = self.fleet.registry
        names = registry.cohorts
        cohort = registry.cohort[: epoch.size]
        sizes = np.bincount(cohort[epoch.devices & (cohort >= 0)], minlength=len(names))
        return Population(
            int(np.count_nonzero(epoch.devices)),
            self._site_sizes(epoch),
            dict(zip(names, sizes.tolist(), strict=True)),
        )

    def realised(self) -> tuple[Rate, ...]:
        """Return how many alarms each family of detectors fired, beside its alarm budget."""
        return self._realised.rates(self.rules)

    def forecasts(self) -> pa.Table:
        """Return what is foretold now, a row for each detector and device; see `FORECASTS`."""
        return foretold(self.fleet, self.detectors)

    # -- saving -------------------------------------------------------------------------------

    def save(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return all state as named arrays and plain values, for a checkpoint."""
        arrays, fleet = self.fleet.save()
        if self._placement is not None:
            for name, array in self._placement._asdict().items():
                arrays[f"placement/{name}"] = array
        values = {
            "fleet": fleet,
            "watched": self._watched.metrics,
            "firing": [asdict(finding) for finding in self._firing.values()],
            "opened": self._opened,
            "guard": self._guarded.save(),
            "realised": self._realised.save(),
            "feedback": self.feedback.save(),
            "life": self.life.save(),
        }
        return arrays, values

    def restore(self, arrays: dict[str, Any], values: dict[str, Any]) -> None:
        """Become the engine that was saved.

        Raises
        ------
        CheckpointError
            It was saved by an engine with other epochs or metrics.
        StateMismatch
            A detector's memory was saved under other settings.
        """
        self.fleet.restore(arrays, values["fleet"])
        self._watched.metrics = list(values["watched"])
        self._arrange()
        prefix = "placement/"
        placed = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
        if placed and set(placed) != set(PlacementMemory._fields):
            raise CheckpointError(
                f"the placement in this checkpoint has {', '.join(sorted(placed))}; this version"
                f" reads {', '.join(PlacementMemory._fields)}: begin afresh"
            )
        self._placement = PlacementMemory(**placed) if placed else None
        firing = [Finding.from_plain(one) for one in values["firing"]]
        self._firing = {finding.fingerprint: finding for finding in firing}
        self._opened = values["opened"]
        self._guarded = GuardMemory.restore(values["guard"])
        self._realised = Realised.restore(values.get("realised", {}))
        self.feedback = Feedback.restore(values["feedback"], self.feedback.settings)
        self.life = Life.restore(values.get("life", {}), self.life.settings)
        for detector in filter(self.fleet.remembers, self.detectors):
            self.fleet.recall(detector)


@lru_cache(maxsize=64)
def _layout(schema: pa.Schema, asked: tuple[tuple[str, str], ...]) -> Layout:
    """Return the layout of frames of a schema; a stream repeats its own."""
    return Layout.guess(schema, **dict(asked))


def _left(fired: Finding, ts: int, sentence: str) -> Finding:
    """Return that what fired is over because its device or metric goes by another name."""
    return replace(
        fired, status="resolved", reason="replaced", ts=ts, sentence=sentence, forecast=None
    )


def _order(finding: Finding) -> tuple[Any, ...]:
    """Sort findings by content: codes of sites and cohorts are as rows happened to come."""
    f = finding
    return f.ts, f.rule, f.device_id, f.part, f.medium_id, f.group, f.status
