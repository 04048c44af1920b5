"""What the devices of a storm have in common: the attribute to blame, and how sure that is.

Each value of each attribute, and each pair of values of two attributes, is a candidate. Of the
affected devices more have the value to blame than chance gives them: with N devices of which K are
affected, the number of those among the n that have the value is hypergeometric (Fisher 1935, "The
Logic of Inductive Inference", doi:10.2307/2342435). All candidates were looked at, so p is
multiplied by their number (Bonferroni), and of those that pass the one that explains most, by its
likelihood ratio, is blamed. What it explains is taken away with all devices that have it, and the
rest is looked at again: several causes at once are several.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from scipy.stats import hypergeom

from aiops.errors import SettingsError
from aiops.fleet.attributes import Attributes
from aiops.kernels.rows import B1, F8, I4, I8

CAUSES_MOST = 20
LOOKED_AT = 64
"""Of so many best candidates p is worked out exactly; the others are worse."""


@dataclass(frozen=True)
class Cause:
    """An attribute value, or a pair of them, that is blamed."""

    attribute: tuple[str, ...]
    value: tuple[str, ...]
    devices: I4
    """[k] affected devices that have it, ascending."""
    size: int
    """How many devices have it, affected or not."""
    lift: float
    """By how much likelier a device that has it is to be affected than one that has not; inf: only
    they are."""
    p: float
    """Probability that chance alone gives one candidate or another so many."""

    @property
    def key(self) -> str:
        """``firmware:2.1`` or ``firmware:2.1,site:lyon``."""
        return ",".join(f"{a}:{v}" for a, v in zip(self.attribute, self.value, strict=True))


@dataclass(frozen=True)
class Blame:
    """When an attribute is blamed."""

    p_most: float = 1e-4
    """Of the whole family of candidates; so small because the fleet is looked at again whenever
    something is found."""
    devices_fewest: int = 3
    """So many affected devices, at least, have what is blamed."""
    lift_fewest: float = 3.0
    """So much likelier, at least, are they to be affected than the others."""

    def __post_init__(self) -> None:
        if not 0.0 < self.p_most < 1.0 or self.devices_fewest < 2 or self.lift_fewest < 1.0:
            raise SettingsError(
                "blame: p_most must be between 0 and 1, devices_fewest 2 or more and lift_fewest 1 "
                f"or more; got {self.p_most}, {self.devices_fewest} and {self.lift_fewest}"
            )

    def causes(
        self, attributes: Attributes, affected: B1, explained: B1 | None = None
    ) -> list[Cause]:
        """Return what is to blame, most explaining first; the devices of causes do not overlap.

        Parameters
        ----------
        affected
            [devices] who has findings. All others are the comparison...
        explained
            [devices] ...but those of causes that are known; None: there are none.
        """
        groups = _groups(attributes, self.devices_fewest)
        there = np.ones(len(affected), np.bool_) if explained is None else ~explained
        looked_at = affected & there
        found: list[tuple[_Group, int, float, B1]] = []
        causes: list[Cause] = []
        while (
            len(found) < CAUSES_MOST and np.count_nonzero(affected & there) >= self.devices_fewest
        ):
            best = self._best(groups, affected, there)
            if best is None:
                break
            group, code, p = best
            member = there & (group.code == code)
            n, k = int(member.sum()), int((member & affected).sum())
            rest, others = int(there.sum()) - n, int((affected & there).sum()) - k
            outside = others / rest if rest else math.nan
            causes.append(
                Cause(
                    attribute=tuple(attributes.name[a] for a in group.attribute),
                    value=group.values(code, attributes),
                    devices=np.zeros(0, np.int32),
                    size=n,
                    lift=k / n / outside if outside else math.inf,
                    p=p,
                )
            )
            found.append((group, code, k / n, group.code == code))
            there &= ~member
        # Who has what several causes blame belongs to the one that strikes the larger share.
        left = looked_at.copy()
        mine: dict[int, I4] = {}
        for place in sorted(range(len(found)), key=lambda k: -found[k][2]):
            mine[place] = np.flatnonzero(left & found[place][3]).astype(np.int32)
            left &= ~found[place][3]
        return [replace(one, devices=mine[k]) for k, one in enumerate(causes)]

    def _best(
        self, groups: list[_Group], affected: B1, there: B1
    ) -> tuple[_Group, int, float] | None:
        """Return the candidate that explains most of those that chance does not, with its p."""
        total, hits = int(there.sum()), int((affected & there).sum())
        tested = 0
        scored: list[tuple[float, int, int, int]] = []
        for g, group in enumerate(groups):
            known = group.code >= 0
            size = np.bincount(group.code[there & known], minlength=group.size)
            hit = np.bincount(group.code[affected & there & known], minlength=group.size)
            tested += int(np.count_nonzero(size))
            gain = _gain(size, hit, total, hits)
            fair = (hit >= self.devices_fewest) & (
                hit * (total - size) >= self.lift_fewest * size * (hits - hit)
            )
            # Of equals the simpler one, and then the first by name, is blamed.
            scored.extend(
                (-float(gain[code]), len(group.attribute), g, code)
                for code in np.flatnonzero(fair).tolist()
            )
        scored.sort()
        for _, _, g, code in scored[:LOOKED_AT]:
            group = groups[g]
            member = there & (group.code == code)
            n, k = int(member.sum()), int((member & affected).sum())
            log_p = float(hypergeom.logsf(k - 1, total, hits, n))
            p = min(1.0, tested * math.exp(log_p))
            if p <= self.p_most:
                return group, code, p
        return None


@dataclass(frozen=True)
class _Group:
    """An attribute, or a pair: which devices have which value."""

    attribute: tuple[int, ...]
    code: I8
    """[devices] -1: not known, or of too few devices."""
    size: int
    part: tuple[I8, ...]
    """For each attribute, [size] its own code."""

    def values(self, code: int, attributes: Attributes) -> tuple[str, ...]:
        return tuple(
            attributes.value[a][int(part[code])]
            for a, part in zip(self.attribute, self.part, strict=True)
        )


def _groups(attributes: Attributes, fewest: int) -> list[_Group]:
    """Return all single attributes, then all pairs, each with values that enough devices have."""
    made = []
    a = len(attributes.name)
    order = sorted(range(a), key=lambda i: attributes.name[i])
    for chosen in [*((i,) for i in order), *combinations(order, 2)]:
        codes = [attributes.code[i].astype(np.int64) for i in chosen]
        sizes = [len(attributes.value[i]) for i in chosen]
        joined = codes[0]
        for code, size in zip(codes[1:], sizes[1:], strict=True):
            joined = np.where((joined < 0) | (code < 0), -1, joined * size + code)
        value, dense, count = np.unique(joined, return_inverse=True, return_counts=True)
        kept = (value >= 0) & (count >= fewest) & (count < len(joined))
        place = np.where(kept, np.cumsum(kept) - 1, -1)
        told = value[kept]
        part = (told,) if len(chosen) == 1 else (told // sizes[1], told % sizes[1])
        if len(told):
            made.append(_Group(chosen, place[dense.reshape(-1)], len(told), part))
    return made


def _gain(size: I8, hit: I8, total: int, hits: int) -> F8:
    """Return the log-likelihood that two rates of affected devices gain over a single one."""
    out, rest = hits - hit, total - size

    def told(k: I8 | int, n: I8 | int) -> F8:
        k, n = np.asarray(k, np.float64), np.asarray(n, np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            likely = k * np.log(k / n) + (n - k) * np.log((n - k) / n)
        # 0 log 0 is 0.
        plain = np.where((k > 0) & (k < n), likely, 0.0)
        return plain

    gain: F8 = told(hit, size) + told(out, rest) - told(hits, total)
    return gain
