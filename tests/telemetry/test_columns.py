from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.telemetry.columns import (
    TEXT_MAX,
    fingerprint,
    read_names,
    read_numbers,
    read_words,
    texts,
    whole,
    word_or_number,
)
from aiops.telemetry.times import YEAR_2000, YEAR_2100, read_times


@pytest.mark.parametrize(
    ("array", "expected", "wrong"),
    [
        (pa.array([1.5, None]), [1.5, None], []),
        (pa.array([1, None], pa.uint8()), [1.0, None], []),
        (pa.array([2**53 + 1, 2**64 - 1], pa.uint64()), [2.0**53, 2.0**64], []),
        (pa.array([1.5, None], pa.float16()), [1.5, None], []),
        (pa.array([True, False, None]), [1.0, 0.0, None], []),
        (pa.array([Decimal("1.25"), None]), [1.25, None], []),
        (pa.array(["1.25", " 7 ", "-3e2", None, ""]), [1.25, 7.0, -300.0, None, None], []),
        (pa.array(["0x0a", "0X0B", "-0x1"], pa.string_view()), [10.0, 11.0, -1.0], []),
        (pa.array(["inf", "NaN", "null", "n/a", "-"]), [math.inf, None, None, None, None], []),
        (pa.array(["one", "1_0", "1,5", "0x", "2"]), [None, None, None, None, 2.0], [0, 1, 2, 3]),
        (pa.array(["3", "x", None]).dictionary_encode(), [3.0, None, None], [1]),
        (pa.array([3, None]).dictionary_encode(), [3.0, None], []),
        (pa.array([None, None]), [None, None], []),
        (pa.array([[1], None]), [None, None], [0]),
        (pa.array([{"a": 1}, None]), [None, None], [0]),
        (pa.array([b"1", None]), [None, None], [0]),
        (pa.array([5, None], pa.duration("s")), [None, None], [0]),
        (pa.array([5, None], pa.timestamp("s")), [None, None], [0]),
        (pa.RunEndEncodedArray.from_arrays([2, 3], [1.5, 2.5]), [1.5, 1.5, 2.5], []),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_numbers_are_read_from_any_type(
    array: pa.Array, expected: list[float | None], wrong: list[int]
) -> None:
    values, mask = read_numbers(whole(pa.chunked_array([array])))
    if mask is not None:
        values = np.where(mask, math.nan, values)
    assert [None if math.isnan(v) else v for v in values] == expected
    assert ([] if mask is None else np.flatnonzero(mask).tolist()) == wrong


DECIMALS = st.one_of(
    st.floats(allow_nan=False).map(repr),
    st.integers(-(10**30), 10**30).map(str),
    st.from_regex(r"-?[0-9]{1,20}(\.[0-9]{1,20})?([eE][-+]?[0-9]{1,3})?", fullmatch=True).filter(
        str.isascii
    ),
)


@given(st.lists(DECIMALS, min_size=1, max_size=5))
def test_a_number_is_what_python_says_whatever_stands_beside_it(spelt: list[str]) -> None:
    expected = [float(text) for text in spelt]
    assert read_numbers(pa.array(spelt))[0].tolist() == expected
    assert read_numbers(pa.array([*spelt, "0x1"]))[0].tolist() == [*expected, 1.0]


MOMENTS = st.one_of(
    st.from_regex(
        r"20[0-9]{2}-(0[1-9]|1[0-3])-([0-2][0-9]|3[01])[T ]"
        r"([01][0-9]|2[0-4]):[0-5][0-9]:[0-6][0-9](\.[0-9]{1,10})?Z?",
        fullmatch=True,
    ).filter(str.isascii),
    st.integers(10**6, 10**19).map(str),
)


@given(st.lists(MOMENTS, min_size=1, max_size=4))
def test_a_time_is_the_same_whatever_stands_beside_it(spelt: list[str]) -> None:
    def read(texts: list[str]) -> list[int | None]:
        ns, bad = read_times(pa.array(texts))
        sound = (ns >= YEAR_2000) & (ns < YEAR_2100) & (True if bad is None else ~bad)
        return [int(t) if ok else None for t, ok in zip(ns, sound, strict=True)]

    together = read(spelt)
    assert together == [read([text])[0] for text in spelt]
    assert [*together, None] == read([*spelt, "soon"])


@pytest.mark.parametrize(
    ("array", "names"),
    [
        (pa.array(["a", None, "a"]), ["a", None, "a"]),
        (pa.array([1, 2, 1], pa.int16()), ["1", "2", "1"]),
        (pa.array([1.0, 1.5, math.nan, None]), ["1", "1.5", None, None]),
        (pa.array([1e20, math.inf]), ["100000000000000000000", "inf"]),
        (pa.array([True, None]), ["True", None]),
        (pa.array([b"gw", b"\xff", None]), ["gw", "�", None]),
        (pa.array([[1], None]), ["", None]),
        (pa.array([None, None]), [None, None]),
        (pa.array([2**63 - 1], pa.timestamp("s")), ["<timestamp[s]>"]),
        (pa.DictionaryArray.from_arrays([0, 1, 2], ["b", "a", "b"]), ["b", "a", "b"]),
        (pa.DictionaryArray.from_arrays([0, 1, None], ["a", None]), ["a", None, None]),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_names_are_read_from_any_type(array: pa.Array, names: list[str | None]) -> None:
    code, values = read_names(array)
    assert [None if c < 0 else values[c] for c in code] == names
    assert len(set(values)) == len(values)


def test_a_slice_does_not_drag_its_dictionary_along() -> None:
    coded = pa.DictionaryArray.from_arrays([123, 7], [str(i) for i in range(1000)])
    code, values = read_names(coded)
    assert (code.tolist(), list(values)) == ([0, 1], ["123", "7"])


def test_chunks_of_different_dictionaries_agree() -> None:
    chunks = [pa.array(["a", "b"]).dictionary_encode(), pa.array(["b", "c"]).dictionary_encode()]
    code, values = read_names(whole(pa.chunked_array(chunks)))
    assert [values[c] for c in code] == ["a", "b", "b", "c"]


@pytest.mark.parametrize(
    ("value", "look"),
    [
        (pa.array([1e300]), "1e+300"),
        (pa.array([7], pa.int8()), "7"),
        (pa.array(["x" * 500]), "x" * (TEXT_MAX - 3) + "..."),
        (pa.array([[1, 2]]), "[1, 2]"),
        (pa.array([None], pa.string()), None),
        (pa.array([2**62], pa.timestamp("s")), "<timestamp[s]>"),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_any_value_can_be_shown(value: pa.Array, look: Any) -> None:
    assert texts(value).to_pylist() == [look]


WORDS = {"power": 2.0, "*power*": 1.0, "*off*": 3.0, "7": 4.0, "unknown": math.nan}


@pytest.mark.parametrize(
    ("array", "expected", "wrong"),
    [
        (pa.array(["POWER", " power ", None, ""]), [2.0, 2.0, None, None], []),
        (pa.array(["Power Off", "take-off"]), [1.0, 3.0], []),
        (pa.array(["1", "flux", "Unknown"]), [None, None, None], [0, 1]),
        (pa.array([7, 8, None]), [4.0, None, None], [1]),
        (pa.array(["flux", "power"]).dictionary_encode(), [None, 2.0], [0]),
        (pa.array([[1], None]), [None, None], []),
    ],
)
def test_words_are_read_in_any_case_and_as_patterns(
    array: pa.Array, expected: list[float | None], wrong: list[int]
) -> None:
    values, mask = read_words(array, WORDS)
    found = [None if mask is not None and mask[i] else v for i, v in enumerate(values)]
    assert [None if v is None or math.isnan(v) else v for v in found] == expected
    assert ([] if mask is None else np.flatnonzero(mask).tolist()) == wrong


def test_a_word_may_stand_among_numbers() -> None:
    values, mask = read_numbers(pa.array(["power", "12", "0x10", "flux"]), word_or_number(WORDS))
    assert mask is not None
    assert values[~mask].tolist() == [2.0, 12.0, 16.0]


def test_names_are_read_from_buffers_of_odd_sizes() -> None:
    ends = np.array([0, 1, 3], np.int32).tobytes() + b"\x00"
    names = pa.StringArray.from_buffers(2, pa.py_buffer(ends), pa.py_buffer(b"abb!"))
    assert list(read_names(names).value) == ["a", "bb"]
    part = names.slice(1)
    assert [read_names(part).value[code] for code in read_names(part).code] == ["bb"]


def test_no_name_and_an_empty_name_are_told_apart_whichever_came_first() -> None:
    for names in (["a", ""], ["a", None], ["a", ""]):
        entries = pa.array(names, pa.string())
        column = pa.DictionaryArray.from_arrays(pa.array([0, 1]), entries)
        found = read_names(column)
        assert [None if k < 0 else found.value[k] for k in found.code.tolist()] == names


def test_names_are_told_apart_by_lengths_and_by_letters() -> None:
    told = [["a", "bc"], ["ab", "c"], ["a", "bd"], ["a", "bc", ""], ["abc"], []]
    found = {fingerprint(pa.array(names, kind)) for names in told for kind in (pa.string(),)}
    assert len(found) == len(told)
    assert fingerprint(pa.array(["x", "a", "bc"]).slice(1)) == fingerprint(pa.array(["a", "bc"]))
    large = pa.array(["a", "bc"], pa.large_string())
    assert fingerprint(large.slice(0)) == fingerprint(large)
