from __future__ import annotations

import math

import numpy as np
import pytest

from aiops.connectors.wire.build import REASONS, Builder, Refusals, coded, names, readings
from aiops.connectors.wire.decoded import LOGS, READINGS, TEXTS
from aiops.connectors.wire.limits import Limits
from aiops.errors import TooLarge


def test_numbers_words_and_messages_come_out_as_three_tables_in_order():
    build = Builder(Limits())
    assert build.add("a", 1, "up", 1, '{"x":"1"}', "north", "B")
    assert build.add("b", 2, "boot", "id-7")
    assert build.add("a", 3, "up", True)
    assert build.add_log("b", 4, math.nan, "it broke")
    done = build.decoded()
    assert [t.schema for t in done.tables] == [READINGS, TEXTS, LOGS]
    assert done.samples == done.rows == 4
    assert done.refused == ()
    numbers, words, logs = (t.to_pylist() for t in done.tables)
    assert [r["value"] for r in numbers] == [1.0, 1.0]
    assert [(r["site"], r["labels"]) for r in numbers] == [("north", '{"x":"1"}'), (None, None)]
    assert words[0]["value"] == "id-7"
    assert (logs[0]["metric"], logs[0]["body"]) == ("log.severity_number", "it broke")
    assert math.isnan(logs[0]["value"])
    for table in done.tables:
        table.validate(full=True)


def test_what_cannot_be_a_reading_is_refused_and_counted():
    build = Builder(Limits(value_bytes=4))
    assert not build.add(None, 1, "up", 1.0, '{"job":"x"}')
    assert not build.add("", 1, "up", 1.0)
    assert not build.add("a", 2**63, "up", 1.0)
    assert not build.add("a", 1, "up", 10**400)
    assert not build.add("a", 1, "up", "long one")
    assert not build.add("é" * 129, 1, "up", 1.0)
    done = build.decoded()
    assert (done.tables, done.samples, done.rejected) == ((), 0, 6)
    assert [r.count for r in done.refused] == [2, 1, 1, 1, 1]
    assert done.refused[0].example == 'up {"job":"x"}'


def test_long_messages_are_cut_at_a_character():
    build = Builder(Limits(value_bytes=5))
    build.add_log("a", 1, 9, "ééé")
    assert build.decoded().tables[0]["body"].to_pylist() == ["éé"]


def test_more_cells_than_allowed_are_too_large():
    build = Builder(Limits(cells=2 * len(READINGS)))
    build.add("a", 1, "up", 1)
    build.add("a", 2, "up", 1)
    with pytest.raises(TooLarge, match="more than 2 readings"):
        build.add("a", 3, "up", 1)


def test_columns_make_the_table_that_rows_make():
    build = Builder(Limits())
    build.add("a", 1, "up", 1, None, "north")
    build.add("b", 2, "up", 2)
    device, metric, site, none = (
        names(*coded(c)) for c in (["a", "b"], ["up", "up"], ["north", None], [None, None])
    )
    ts, value = np.array([1, 2]), np.array([1.0, 2.0])
    assert readings(device, ts, metric, value, none, site, none).equals(build.decoded().tables[0])


def test_the_bits_of_a_nan_are_kept():
    stale = np.array([0x7FF0000000000002], np.uint64).view(np.float64)
    build = Builder(Limits())
    build.add("a", 1, "up", stale[0].item())
    value = build.decoded().tables[0]["value"].chunk(0).to_numpy()
    assert value.view(np.uint64)[0] == 0x7FF0000000000002


def test_only_so_many_reasons_are_told_apart():
    refusals = Refusals()
    for number in range(1000):
        refusals.add(f"reason {number}", "x" * 500)
    told = refusals.listed()
    assert len(told) == REASONS + 1
    assert told[-1].reason == "other reasons"
    assert sum(one.count for one in told) == 1000
    assert max(len(one.example) for one in told) == 120
