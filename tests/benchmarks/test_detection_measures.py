"""The measures of `benchmarks/detection.py`, against cases worked out by hand and extremes."""

from __future__ import annotations

import gzip
import importlib
import json
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("AIOPS_SHARED", ROOT.parent / "shared"))
NAMES = ("data", "nab", "vus", "alarms")
MINUTE_NS = 60 * 10**9


@pytest.fixture(scope="module")
def parts() -> Iterator[dict[str, ModuleType]]:
    """The modules of the benchmark, which are found as a script finds them."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        yield {name: importlib.import_module(f"_detection_{name}") for name in NAMES}
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


def series(parts: dict[str, ModuleType], n: int, *events: tuple[int, int], name: str = "a"):
    ts = MINUTE_NS * np.arange(n, dtype=np.int64)
    rows = np.array(events, dtype=np.int64).reshape(-1, 2)
    return parts["data"].Series(name, ts, np.zeros(n), rows)


def at(n: int, *rows: int) -> np.ndarray:
    score = np.zeros(n)
    score[list(rows)] = 1.0
    return score


# -- folders --------------------------------------------------------------------------------------


def write_nab(folder: Path, windows: dict[str, list[list[str]]], files: list[str]) -> Path:
    for name in files:
        path = folder / f"{name}.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        with gzip.open(path, "wt") as file:
            file.write("timestamp,value\n")
            file.writelines(f"2020-01-01 00:{m:02d}:00,{m}\n" for m in range(0, 60, 5))
    (folder / "combined_windows.json").write_text(json.dumps(windows))
    return folder


def test_windows_become_rows_both_ends_included(
    parts: dict[str, ModuleType], tmp_path: Path
) -> None:
    window = ["2020-01-01 00:10:00.000000", "2020-01-01 00:20:00.000000"]
    write_nab(tmp_path, {"real/a.csv": [window]}, ["real/a.csv"])
    (one,) = parts["data"].read_nab(tmp_path)
    assert one.name == "real/a.csv"
    assert one.events.tolist() == [[2, 4]]
    assert one.value[one.label].tolist() == [10.0, 15.0, 20.0]
    assert one.ts[1] - one.ts[0] == 5 * MINUTE_NS


@pytest.mark.parametrize("files", [["a.csv"], ["a.csv", "b.csv", "c.csv"]])
def test_a_corpus_with_a_file_left_out_or_too_many_is_refused(
    parts: dict[str, ModuleType], tmp_path: Path, files: list[str]
) -> None:
    write_nab(tmp_path, {"a.csv": [], "b.csv": []}, files)
    with pytest.raises(SystemExit, match="files and windows differ"):
        parts["data"].read_nab(tmp_path)


def test_labels_become_events(parts: dict[str, ModuleType], tmp_path: Path) -> None:
    label = np.array([1, 0, 0, 1, 1, 0, 1], dtype=bool)
    events = parts["data"].events_of(label)
    assert events.tolist() == [[0, 0], [3, 4], [6, 6]]
    assert (parts["data"].label_of(events, 7) == label).all()
    (tmp_path / "x.csv").write_text(
        '"TimeStamp","Value","Label"\n"2018-01-01T00:00:00Z","1","0"\n"2018-01-01T01:00:00Z",2,1\n'
    )
    (one,) = parts["data"].read_cloud(tmp_path)
    assert (one.value.tolist(), one.events.tolist()) == ([1.0, 2.0], [[1, 1]])


def test_servers_are_judged_where_there_are_labels(
    parts: dict[str, ModuleType], tmp_path: Path
) -> None:
    test_label = np.array([0, 1, 1, 0], dtype=np.int8)
    shape = {"train": np.zeros((3, 2), np.float32), "test": np.ones((4, 2), np.float32)}
    np.savez(tmp_path / "asd-9.npz", test_label=test_label, **shape)
    (server,) = parts["data"].read_smd(tmp_path)
    assert (server.name, len(server.metrics)) == ("asd-9", 2)
    judged = server.judged(np.arange(7.0))
    assert (judged.begins, judged.events.tolist()) == (3, [[4, 5]])
    assert judged.days == pytest.approx(15 / (24 * 60))


# -- NAB ------------------------------------------------------------------------------------------


def test_an_alarm_is_worth_what_the_rule_says(parts: dict[str, ModuleType]) -> None:
    def s(y: float) -> float:
        return 2.0 / (1.0 + math.exp(5.0 * y)) - 1.0

    worth = parts["nab"].worth(series(parts, 100, (40, 49)))
    assert worth.value[40] == pytest.approx(1.0)
    assert worth.value[44] == pytest.approx(s(-0.6) / s(-1.0))
    assert worth.value[49] == pytest.approx(s(-0.1) / s(-1.0))
    assert worth.value[39] == -1.0
    assert worth.value[52] == pytest.approx(s(3 / 9))
    assert worth.value[49 + 27] == pytest.approx(s(3.0))
    assert worth.value[49 + 28] == -1.0
    assert s(-1.0) == pytest.approx(0.98661, abs=1e-5)
    assert (worth.window[:15] == -2).all()
    assert worth.window[[15, 39, 40, 49, 50]].tolist() == [-1, -1, 0, 0, -1]
    assert parts["nab"].probation(100_000) == 750


def test_a_score_worked_out_by_hand(parts: dict[str, ModuleType]) -> None:
    """Two windows; one found in its 5th row of 10 and again later, two false alarms far away."""
    nab = parts["nab"]
    one = series(parts, 200, (60, 69), (150, 159))
    tally = nab.tally([one], [at(200, 3, 40, 50, 64, 66)])
    credit = (2.0 / (1.0 + math.exp(-3.0)) - 1.0) / (2.0 / (1.0 + math.exp(-5.0)) - 1.0)
    expected = {
        "standard": 100.0 * (credit - 1.0 - 0.22 + 2.0) / 4.0,
        "low_fp": 100.0 * (credit - 1.0 - 0.44 + 2.0) / 4.0,
        "low_fn": 100.0 * (credit - 2.0 - 0.22 + 4.0) / 6.0,
    }
    assert tally.line.tolist() == [math.inf, 1.0, 0.0]
    for name, score in expected.items():
        assert tally.score(nab.PROFILES[name])[1] == pytest.approx(score)


def test_saying_nothing_is_0_and_saying_all_once_at_once_is_100(
    parts: dict[str, ModuleType],
) -> None:
    nab = parts["nab"]
    many = [series(parts, 400, (100, 139), (300, 319)), series(parts, 300, (200, 249))]
    perfect = [at(400, 100, 300), at(300, 200)]
    for profile in nab.PROFILES.values():
        assert nab.best(nab.tally(many, [np.zeros(400), np.zeros(300)]), profile) == 0.0
        assert nab.tally(many, perfect).score(profile)[0] == 0.0  # a line above every score
        assert nab.best(nab.tally(many, perfect), profile) == pytest.approx(100.0)


def test_no_file_may_be_left_out(parts: dict[str, ModuleType]) -> None:
    with pytest.raises(ValueError, match="no file left out"):
        parts["nab"].tally([series(parts, 50), series(parts, 50)], [np.zeros(50)])
    with pytest.raises(ValueError, match="without a window"):
        parts["nab"].best(
            parts["nab"].tally([series(parts, 50)], [np.zeros(50)]),
            parts["nab"].PROFILES["standard"],
        )


def test_rests_suppress_all_but_what_is_much_higher(parts: dict[str, ModuleType]) -> None:
    score = np.zeros(100)
    score[[20, 22, 25, 60]] = 1.0, 1.4, 1.5, 1.0
    assert parts["alarms"].alarms(score, 0.9, 30, 1.5).tolist() == [20, 25, 60]
    assert parts["alarms"].alarms(score, 0.9, 0, 1.0).tolist() == [20, 22, 25, 60]
    assert parts["alarms"].alarms(score, 1.1, 30, 1.5).tolist() == [22]
    tally = parts["nab"].tally([series(parts, 100, (90, 99))], [score], 30, 1.5)
    at_1 = tally.line.tolist().index(1.0)
    assert tally.cost[0, at_1] == -3.0


def test_a_line_is_taken_from_the_other_half(parts: dict[str, ModuleType]) -> None:
    """Two files whose best lines differ: each alone is perfect at its own, not at the other's."""
    nab = parts["nab"]
    low, high = at(200, 100), 5.0 * at(200, 100)
    high[[60, 70, 80]] = 1.0
    both = [series(parts, 200, (100, 119)), series(parts, 200, (100, 119))]
    tally = nab.tally(both, [low, high])
    standard = nab.PROFILES["standard"]
    # The line 5 misses the first file; the line 1 costs three alarms in the second.
    held_out = nab.held_out(tally, standard, 3, 0)
    assert held_out.split == pytest.approx(100 * (-1 + 1 - 0.33 + 2) / 4)
    # 0 and 83.5 of files with a window each: the error of a mean of two.
    assert held_out.error == pytest.approx(100 * (1 - 0.33 + 1) / 2 / 2)
    assert nab.best(tally, standard) == pytest.approx(100 * (2 - 0.33 + 2) / 4)


def given_nab(parts: dict[str, ModuleType]):
    folder = SHARED / "data" / "nab"
    if not folder.exists():
        pytest.skip("the given NAB series are not there (set AIOPS_SHARED)")
    return parts["data"].read_nab(folder)


def test_a_clock_and_chance_score_what_is_known_of_them(parts: dict[str, ModuleType]) -> None:
    """On the full set a clock every 500 rows has 23.6, and chance 11 to 18."""
    nab, given = parts["nab"], given_nab(parts)
    standard = nab.PROFILES["standard"]
    clock = [(np.arange(len(one.ts)) % 500 == 0).astype(float) for one in given]
    assert 15.0 < nab.best(nab.tally(given, clock), standard) < 30.0
    rng = np.random.default_rng(1)
    chance = [
        nab.best(nab.tally(given, [rng.random(len(one.ts)) for one in given]), standard)
        for _ in range(5)
    ]
    assert 6.0 < np.mean(chance) < 22.0
    first = [np.isin(np.arange(len(o.ts)), o.events[:, 0]).astype(float) for o in given]
    assert nab.best(nab.tally(given, first), standard) == pytest.approx(100.0)


# -- VUS-PR ---------------------------------------------------------------------------------------


def slow_vus_pr(score: np.ndarray, label: np.ndarray, window: int) -> float:
    """Row by row and line by line, as it is defined."""
    n = len(score)
    runs, i = [], 0
    while i < n:
        if label[i]:
            j = i
            while j + 1 < n and label[j + 1]:
                j += 1
            runs.append((i, j))
            i = j
        i += 1
    areas = []
    for buffer in range(window + 1):
        soft = [1.0 if label[i] else 0.0 for i in range(n)]
        for i in range(n):
            if not label[i]:
                for a, b in runs:
                    d = a - i if i < a else i - b
                    if d <= buffer // 2:
                        soft[i] += math.sqrt(1.0 - d / buffer)
                soft[i] = min(soft[i], 1.0)
        parts = [[max(runs[0][0] - buffer // 2, 0), runs[0][1] + buffer // 2]]
        for a, b in runs[1:]:
            if a - buffer // 2 <= parts[-1][1]:
                parts[-1][1] = b + buffer // 2
            else:
                parts.append([a - buffer // 2, b + buffer // 2])
        area, before = 0.0, 0.0
        for line in sorted(set(score.tolist()), reverse=True):
            said = [i for i in range(n) if score[i] >= line]
            right = sum(soft[i] for i in said)
            asked = sum(label) + sum(soft[i] for i in said if not label[i])
            entered = sum(any(a <= i <= b for i in said) for a, b in parts) / len(parts)
            recall = min(right / ((sum(label) + asked) / 2.0), 1.0) * entered
            area += (recall - before) * right / len(said)
            before = recall
        areas.append(area)
    return sum(areas) / len(areas)


def test_without_a_buffer_it_is_average_precision_by_events(
    parts: dict[str, ModuleType],
) -> None:
    """Rows 4, 2, 3 in this order; the event is rows 2 and 3: precisions 0, 1/2, 2/3."""
    vus_pr = parts["vus"].vus_pr
    event = np.array([[2, 3]])
    score = np.array([0.0, 0.0, 0.8, 0.7, 0.9, 0.0])
    assert vus_pr(score, event, 0) == pytest.approx(0.5 * 1 / 2 + 0.5 * 2 / 3)
    # Two events, one row each: the first alone is half of the rows in half of the events.
    two = np.array([[1, 1], [4, 4]])
    score = np.array([0.0, 0.9, 0.0, 0.8, 0.7, 0.0])
    assert vus_pr(score, two, 0) == pytest.approx(0.25 * 1.0 + 0.75 * 2 / 3)


def test_with_a_buffer_worked_out_by_hand(parts: dict[str, ModuleType]) -> None:
    """The row after the event is said first; buffers of 0 and 1 do not reach it, that of 2 does."""
    score = np.array([0.0, 0.0, 0.8, 0.9, 0.0])
    near = math.sqrt(0.5)
    first = near / (1.0 + near / 2.0)
    both = min((1.0 + near) / (1.0 + near / 2.0), 1.0)
    wide = first * near + (both - first) * (1.0 + near) / 2.0
    expected = (0.5 + 0.5 + wide) / 3.0
    assert parts["vus"].vus_pr(score, np.array([[2, 2]]), 2) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(6))
def test_running_sums_give_what_the_definition_gives(
    parts: dict[str, ModuleType], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    label = rng.random(60) < 0.15
    label[int(rng.integers(60))] = True
    score = np.round(rng.random(60), 1 if seed % 2 else 6)  # with ties, and without
    events = parts["data"].events_of(label)
    assert parts["vus"].vus_pr(score, events, 9) == pytest.approx(slow_vus_pr(score, label, 9))


def test_extremes(parts: dict[str, ModuleType]) -> None:
    vus_pr = parts["vus"].vus_pr
    label = np.zeros(2_000, dtype=bool)
    label[500:520] = label[1_500:1_540] = True
    events = parts["data"].events_of(label)
    assert vus_pr(label.astype(float), events, 40) > 0.97
    assert vus_pr(np.zeros(2_000), events, 0) == pytest.approx(0.03)  # all at once
    chance = np.mean(
        [vus_pr(np.random.default_rng(s).random(2_000), events, 20) for s in range(20)]
    )
    assert 0.02 < chance < 0.07
    late = np.roll(label, 5).astype(float)
    assert vus_pr(late, events, 40) > vus_pr(late, events, 0)
    assert vus_pr(-label.astype(float), events, 0) <= 0.03
    assert math.isnan(vus_pr(np.zeros(9), np.zeros((0, 2), dtype=np.int64), 3))


def test_ranks_of_all_rows_are_all_lines(parts: dict[str, ModuleType]) -> None:
    rng = np.random.default_rng(3)
    events = np.array([[30, 39], [70, 71]])
    score = rng.random(100)
    whole = parts["vus"].vus_pr(score, events, 10)
    assert parts["vus"].vus_pr(score, events, 10, ranks=100) == pytest.approx(whole)
    assert parts["vus"].vus_pr(score, events, 10, ranks=20) == pytest.approx(whole, abs=0.2)


def test_a_score_that_is_not_there_says_nothing(parts: dict[str, ModuleType]) -> None:
    score = np.array([np.nan, np.nan, 1.0, np.nan])
    assert parts["vus"].vus_pr(score, np.array([[2, 2]]), 0) == 1.0


def test_the_window_is_the_period(parts: dict[str, ModuleType]) -> None:
    row = np.arange(1_000)
    rng = np.random.default_rng(4)
    day = np.sin(2 * np.pi * row / 24) + 0.1 * rng.normal(size=1_000)
    assert parts["vus"].period(day) == 24
    assert parts["vus"].period(np.full(1_000, 7.0)) == 125
    assert parts["vus"].period(row.astype(float)) == 125


# -- alarms ---------------------------------------------------------------------------------------


def test_the_state_fades_by_2_percent_a_row(parts: dict[str, ModuleType]) -> None:
    state = parts["alarms"].latched(np.array([0.0, 1.0, np.nan, 0.5, 2.0, 0.0]))
    assert state == pytest.approx([0.0, 1.0, 0.98, 0.98**2, 2.0, 1.96])


def test_events_delays_and_false_alarms(parts: dict[str, ModuleType]) -> None:
    """Four days of minutes; one event found after 7 rows, one missed, two false alarms."""
    alarms, n = parts["alarms"], 4 * 1_440 + 1
    one = series(parts, n, (1_000, 1_099), (3_000, 3_099))
    score = at(n, 50, 60, 1_007, 1_020, 1_050, 5_000)
    seen = alarms.seen([one], [score], 0.5)
    assert (seen.events, seen.found, seen.false) == (2, 0.5, 2)
    assert (seen.delay_rows.tolist(), seen.delay_s.tolist()) == ([7.0], [420.0])
    assert seen.false_per_day == pytest.approx(0.5)
    taught = one._replace(begins=70)
    assert alarms.seen([taught], [score], 0.5).false == 1


def test_the_line_is_the_lowest_within_the_rate(parts: dict[str, ModuleType]) -> None:
    alarms, n = parts["alarms"], 10 * 1_440 + 1
    score = np.zeros(n)
    score[np.arange(10) * 1_440 + 700] = np.arange(10) + 1.0
    one = series(parts, n, (14_000, 14_010))
    assert alarms.line_for([one], [score], 0.3) == 8.0
    assert alarms.line_for([one], [score], 0.0) == math.inf
