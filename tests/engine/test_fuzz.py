"""Whatever is thrown at `step`, it does not raise, counts it, and other devices do not notice."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from aiops.engine.engine import Engine
from aiops.testing import END

START = 1_767_571_200
METRICS = (
    "storage.wear.used_ratio/nvme",
    "storage.power_on_time",
    "device.uptime",
    "device.boot_id",
    "temperature.celsius",
    "what.is.this",
)

weird_number = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([math.nan, math.inf, -math.inf, -1.0, 1e300, 0.0, 5e-324]),
)
weird_time = st.one_of(
    st.integers(START, START + 86_400),
    st.sampled_from([0, -1, 1, 12, 2**31, 2**62, -(2**62), 4_102_444_801, 10**18, None]),
)
weird_value = st.one_of(weird_number, st.text(max_size=5), st.booleans(), st.none())
row = st.fixed_dictionaries(
    {
        "device_id": st.sampled_from(["bad-1", "bad-2", "", None]),
        "ts": weird_time,
        **dict.fromkeys(METRICS, weird_value),
    }
)


def good_rows() -> list[dict]:
    """Return an hour of two devices that are none of the fuzzer's business."""
    rows = []
    for minute in range(0, 60, 5):
        for k, device in enumerate(("good-1", "good-2")):
            rows.append(
                {
                    "device_id": device,
                    "ts": START + 60 * minute + k,
                    METRICS[0]: 0.5 + minute / 400,
                    METRICS[1]: 1e7 + 60 * minute,
                    METRICS[2]: 1000.0 + 60 * minute,
                    METRICS[3]: "boot-1" if minute < 30 else "boot-2",
                    METRICS[4]: 40.0,
                }
            )
    return rows


def table_of(rows: list[dict]) -> pa.Table:
    """Make a table whose columns take whatever type their values suggest, or text."""
    columns = {}
    for name in ("device_id", "ts", "recv_ts", *METRICS):
        values = [one.get(name) for one in rows]
        try:
            columns[name] = pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            columns[name] = pa.array([None if v is None else str(v) for v in values])
    return pa.table(columns)


def said_of_good(steps) -> dict:
    found = {}
    for step in steps:
        for scored in step.scored:
            for i, d in enumerate(scored.batch.device.tolist()):
                name = scored.identities[d][0]
                if name.startswith("good"):
                    key = (scored.detector, name, int(scored.batch.ts[i]))
                    found[key] = tuple(np.float64(c[i]).tobytes() for c in scored.scores)
        for finding in step.findings:
            if finding.device_id.startswith("good") and finding.detector != "silence":
                found[finding.id] = finding.sentence
    return found


ALONE = said_of_good([Engine().step(table_of([*good_rows(), END]))])


@settings(max_examples=60)
@given(st.lists(row, max_size=30), st.randoms(use_true_random=False))
def test_bad_rows_among_good_ones(bad, random):
    assert ALONE
    engine = Engine()
    rows = [*good_rows(), *bad]
    # The good rows keep their order; bad ones fall anywhere among them.
    random.shuffle(bad)
    places = sorted(random.randrange(len(rows)) for _ in bad)
    rows = good_rows()
    for place, one in zip(places, bad, strict=True):
        rows.insert(min(place, len(rows)), one)
    ends = [i for i, one in enumerate(rows) if not one["device_id"] and one["ts"] is None]
    rows = [one for i, one in enumerate(rows) if i not in ends]
    # The log stamps what it takes; of its own clock the fuzzer knows nothing.
    received = START
    for one in rows:
        if (one["device_id"] or "").startswith("good"):
            received = one["ts"]
        one["recv_ts"] = received
    steps = [engine.step(table_of(rows)), engine.step(table_of([END]))]
    assert said_of_good(steps) == ALONE
    taken = engine.fleet.counts["rows"]
    refused = {"bad_time", "clock_unset", "no_time", "no_device", "ahead_of_clock"}
    counted = sum(n for reason, n in engine.fleet.counts.items() if reason in refused)
    beats = sum(one["device_id"] is None for one in rows)
    assert taken + counted + beats >= len(rows), "every row is taken, counted or a heartbeat"


@settings(max_examples=40)
@given(st.lists(row, max_size=20))
def test_wrong_types_never_raise(rows):
    engine = Engine()
    engine.step(table_of(rows))
    frame = pd.DataFrame(rows, columns=["device_id", "ts", *METRICS]).astype(object)
    engine.step(pa.Table.from_pandas(frame.map(lambda v: None if v is None else str(v))))
    engine.step(table_of([END]))


def test_empty_duplicate_and_unsorted_rows():
    rows = good_rows()
    engine = Engine()
    engine.step(table_of(rows).slice(0, 0))
    doubled = [one for one in rows for _ in range(3)]
    step = engine.step(table_of([*doubled, END]))
    assert said_of_good([step]) == ALONE
    reasons = {r["reason"] for r in step.set_aside.to_pylist()}
    assert "duplicate" in reasons
    assert engine.fleet.counts["duplicate"] >= 2 * len(rows)


def test_columns_of_unheard_of_types():
    odd = pa.table(
        {
            "device_id": ["a", "b"],
            "ts": pa.array([START, START + 1], pa.timestamp("s")),
            "temperature.celsius": pa.array([[1.0], None], pa.list_(pa.float64())),
            "device.uptime": pa.array([b"x", None], pa.binary()),
            "battery.soc_ratio": pa.array([{"a": 1}, None]),
            "net.rtt_ms": pa.array([5, None], pa.duration("ms")),
        }
    )
    engine = Engine()
    engine.step(odd)
    step = engine.step(table_of([END]))
    assert engine.fleet.counts["rows"] == 2
    assert step.findings == ()
