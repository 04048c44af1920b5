"""What a detector is shown of a batch."""

from __future__ import annotations

import numpy as np

from aiops.telemetry.batch import TelemetryBatch, group_bounds

NAN = np.nan


def batch(**columns):
    device = np.array([0, 0, 1], np.int32)
    return TelemetryBatch(
        device=device,
        cohort=np.zeros(3, np.int32),
        ts=np.array([1, 2, 1]),
        historical=np.zeros(3, np.bool_),
        columns={name: np.array(values) for name, values in columns.items()},
        indptr=group_bounds(device),
    )


def test_rows_that_report_nothing_it_reads_are_left_out_and_columns_it_does_not_look_at():
    shown = batch(a=[1.0, NAN, 3.0], b=[4.0, 5.0, 6.0], c=[7.0, 8.0, 9.0])
    some = shown.reporting(("a",), ("b", "z"))
    assert {name: values.tolist() for name, values in some.columns.items()} == {
        "a": [1.0, 3.0],
        "b": [4.0, 6.0],
    }
    assert some.device.tolist() == [0, 1]
    assert some.indptr.tolist() == [0, 1, 2]
    assert np.isnan(some.column("z")).all()


def test_a_batch_of_which_all_rows_matter_is_shown_as_it_is():
    whole = batch(a=[1.0, 2.0, 3.0], b=[NAN, 5.0, 6.0])
    assert whole.reporting(()) is whole
    assert whole.reporting(("a", "b")) is whole
    assert len(whole.reporting(("z",))) == 0
