"""Which log templates each device has shown, as bits, and what is new among them."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from aiops.kernels.compile import kernel
from aiops.kernels.rows import B1, F8, I1, I4, I8

U1: TypeAlias = npt.NDArray[np.uint8]
U2: TypeAlias = npt.NDArray[np.uint16]

KEPT = 4
"""New templates of one spell that are followed."""
FREE = -1
CLASSES = 3
"""Gravities: up to info, warnings, errors."""
LEVELS = 6
"""A spell of 2^k episodes or more is at level k."""


class NoveltyMemory(NamedTuple):
    """What each device's log has shown, and the spell of new templates it is in."""

    seen: U1
    """[c, templates / 8] a bit for each template that the device has shown."""
    since: I8
    """[c] time of its first line, ns; 0: none yet."""
    last: I8
    """[c] time of its last line, ns."""
    fresh: I4
    """[c, KEPT] templates new to the device in the epoch that closes; `FREE`: none."""
    fresh_class: I1
    """[c, KEPT] how grave their lines are."""
    spell: I4
    """[c, KEPT] new and rare templates of the spell; `FREE`: none."""
    began: I8
    """[c] when the spell began, ns; 0: it is in none."""
    episode: I8
    """[c] when its last episode began, ns."""
    episodes: I4
    """[c] episodes so far."""
    gravity: I1
    """[c] the gravest class of its lines."""
    peers: I4
    """[c] other devices of the cohort that had shown its first template."""
    rate: F8
    """[c] how often a month a healthy device has such a spell: the least that was said of this one;
    inf: it is in none."""
    reached: U2
    """[c, CLASSES, LEVELS] spells that are over, by the gravest class and each level reached."""


@kernel
def novelty_update(
    device: I4,
    ts: I8,
    template: I4,
    gravity: I1,
    live: B1,
    memory: NoveltyMemory,
    warm_ns: int,
    episode_ns: int,
) -> None:
    """Mark the templates of lines [m] as seen; note those new to a device that is warm.

    Lines are grouped by device, in time order. Template 0 is everything there was no room for. A
    line of a spell's template begins an episode when the last one began `episode_ns` before. New
    templates beyond `KEPT` of an epoch are seen, and no more is made of them; nor of those of lines
    that are not `live` [m]: they came after their epoch had closed.
    """
    for k in range(device.shape[0]):
        i, t, which = device[k], ts[k], template[k]
        if memory.since[i] == 0:
            memory.since[i] = t
        memory.last[i] = max(memory.last[i], t)
        if which == 0:
            continue
        byte, bit = which >> 3, np.uint8(1 << (which & 7))
        if memory.seen[i, byte] & bit == 0:
            memory.seen[i, byte] |= bit
            if live[k] and t - memory.since[i] >= warm_ns:
                for slot in range(KEPT):
                    if memory.fresh[i, slot] == FREE:
                        memory.fresh[i, slot] = which
                        memory.fresh_class[i, slot] = gravity[k]
                        break
            continue
        if not live[k]:
            continue
        for slot in range(KEPT):
            if memory.fresh[i, slot] == which:
                memory.fresh_class[i, slot] = max(memory.fresh_class[i, slot], gravity[k])
            if memory.began[i] > 0 and memory.spell[i, slot] == which:
                memory.gravity[i] = max(memory.gravity[i], gravity[k])
                if t - memory.episode[i] >= episode_ns:
                    memory.episode[i] = t
                    memory.episodes[i] += 1


@kernel
def count_knowing(seen: U1, cohort: I4, template: I4, of_cohort: I4, known: I4, size: I4) -> None:
    """Count for each question [q] who of a cohort has shown a template, and the whole cohort.

    `seen` [d, bytes] and `cohort` [d] are of the devices that have logged; `template` and
    `of_cohort` [q] are asked, `known` and `size` [q] answered.
    """
    for d in range(cohort.shape[0]):
        for k in range(template.shape[0]):
            if cohort[d] == of_cohort[k]:
                size[k] += 1
                known[k] += (seen[d, template[k] >> 3] >> np.uint8(template[k] & 7)) & 1
