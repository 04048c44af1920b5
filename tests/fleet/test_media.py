from __future__ import annotations

import numpy as np
import pytest

from aiops.fleet.state import FleetState
from aiops.telemetry.normalised import Encoded
from tests.fleet.frames import END, START, frame

WEAR = "storage.wear.used_ratio"
READ = {WEAR + "/nvme": 0.5}
MINUTE = 60


def media(*rows):
    """Make a frame of rows (part, medium, minutes, readings) of one device, which then ends."""
    made = frame(*(("gw-1", minute * MINUTE, what) for _, _, minute, what in rows), END)
    parts, names = ([*(row[k] for row in rows), ""] for k in (0, 1))
    return replace_names(made, parts, names)


def replace_names(made, parts, names):
    def encoded(texts):
        values = sorted(set(texts) - {""})
        return Encoded(np.array([values.index(t) if t else -1 for t in texts], np.int32), values)

    return type(made)(
        made.device_id,
        made.ts,
        made.recv_ts,
        made.columns,
        part=encoded(parts),
        medium_id=encoded(names),
    )


def left(state):
    return [state.registry.identities[i][1:] for i in state.media.replaced.tolist()]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([("nvme0", "S1", 0, READ), ("nvme0", "S1", 9, READ)], [], id="one medium"),
        pytest.param(
            [("nvme0", "S1", 0, READ), ("nvme0", "S2", 9, READ)], [("nvme0", "S1")], id="a swap"
        ),
        pytest.param([("nvme0", "S1", 0, READ), ("nvme1", "S2", 9, READ)], [], id="another place"),
        pytest.param([("", "S1", 0, READ), ("", "S2", 9, READ)], [("", "S1")], id="no part told"),
        pytest.param(
            [("nvme0", "S1", 0, READ), ("nvme0", "S2", 9, {"temperature.celsius": 20.0})],
            [],
            id="a name without a reading",
        ),
        pytest.param(
            [("nvme0", "", 0, READ), ("nvme0", "S2", 9, READ)], [], id="the first was not named"
        ),
        pytest.param(
            [("nvme0", "S1", 0, READ), ("nvme0", "S2", 0.5, READ)], [], id="first heard together"
        ),
        pytest.param(
            [("nvme0", m, t, READ) for t in (0, 9, 18) for m in ("S1", "S2")], [], id="side by side"
        ),
        pytest.param(
            [("nvme0", m, t, READ) for m, t in (("S1", 0), ("S2", 9), ("S1", 18))],
            [],
            id="it was put back",
        ),
        pytest.param(
            [("nvme0", m, t, READ) for m, t in (("S1", 0), ("S2", 9), ("S3", 18))],
            [("nvme0", "S1"), ("nvme0", "S2")],
            id="twice",
        ),
    ],
)
def test_who_has_left(rows, expected):
    state = FleetState([WEAR, "temperature.celsius"])
    state.admit(media(*rows))
    assert left(state) == expected
    again = FleetState([WEAR, "temperature.celsius"])
    again.restore(*state.save())
    assert left(again) == expected
    for index in again.media.replaced.tolist():
        assert again.media.successor(index) == state.media.successor(index)


def test_the_epoch_says_who_has_left_when_the_new_one_is_first_seen():
    state = FleetState([WEAR])
    rows = [("nvme0", "S1", 0, READ), ("nvme0", "S2", 9, READ), ("nvme0", "S2", 18, READ)]
    epochs = [closed.epoch for closed in state.admit(media(*rows)).epochs]
    assert [(e.start // 60_000_000_000 - START // 60, e.replaced.tolist()) for e in epochs] == [
        (0, []),
        (9, [1]),
        (18, [1]),
    ]
    assert state.media.successor(1) == ("gw-1", "nvme0", "S2")
