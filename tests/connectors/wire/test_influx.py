from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiops.connectors.wire import influx as influx_codec
from aiops.connectors.wire.decoded import READINGS, TEXTS
from aiops.connectors.wire.influx import UNITS_NS, decode
from aiops.connectors.wire.limits import Limits
from aiops.errors import PayloadError, TooLarge
from tests.connectors.wire.encoders import Reading, influx

LIMITS = Limits()
T = 1_760_000_000_000_000_000


def found(text: str, precision: str = "ns") -> list[tuple[object, ...]]:
    """Device, time, metric and value of each reading, numbers first."""
    done = decode(text.encode(), T, LIMITS, precision)
    assert done.refused == ()
    return [
        (row["device_id"], row["ts"].value, row["metric"], row["value"])
        for table in done.tables
        for row in table.to_pylist()
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("cpu,host=a usage_idle=97.5 7", [("a", 7, "cpu_usage_idle", 97.5)]),
        ("m,host=a x=1i,y=2u 7", [("a", 7, "m_x", 1), ("a", 7, "m_y", 2)]),
        ("m,host=a x=-3e2,y=+.5E-1 7", [("a", 7, "m_x", -300), ("a", 7, "m_y", 0.05)]),
        ("m,host=a t=t,u=TRUE", [("a", T, "m_t", 1), ("a", T, "m_u", 1)]),
        ("m,host=a v=F,w=false", [("a", T, "m_v", 0), ("a", T, "m_w", 0)]),
        ('m,host=a s="on",x=1 7', [("a", 7, "m_x", 1), ("a", 7, "m_s", "on")]),
        (r'm,host=a s="say \"a\\b\", c=1 d" 7', [("a", 7, "m_s", r'say "a\b", c=1 d')]),
        (r"m\,\ n,ho\ st=x,host=a\ b\,c\=d f\ g\,\=h=1 7", [("a b,c=d", 7, "m, n_f g,=h", 1)]),
        (r"m,host=a\b\c x=1 7", [("a\\b\\c", 7, "m_x", 1)]),
        (r"m,host=\"a\" x=1 7", [('\\"a\\"', 7, "m_x", 1)]),
        ("m,host=é x=.5 -7", [("é", -7, "m_x", 0.5)]),
        ('m,host=a s="" 7', [("a", 7, "m_s", "")]),
        ("\n# comment\n \nm,host=a x=1. 7\r\n\n", [("a", 7, "m_x", 1)]),
        ("m,host=a  x=1  7  ", [("a", 7, "m_x", 1)]),
        ("smart_attribute,host=a raw_value=3i 7", [("a", 7, "smart_attribute_raw_value", 3)]),
        ("device,host=a temperature.celsius=3 7", [("a", 7, "temperature.celsius", 3)]),
        ("prometheus,host=a node_boot_time_seconds=3 7", [("a", 7, "node_boot_time_seconds", 3)]),
        ("node_boot_time_seconds,host=a gauge=3 7", [("a", 7, "node_boot_time_seconds", 3)]),
        ("engine,host=a value=3 7", [("a", 7, "engine_value", 3)]),
    ],
)  # fmt: skip
def test_a_line_is_its_readings(line, expected):
    assert found(line) == expected


@pytest.mark.parametrize(("precision", "unit_ns"), UNITS_NS.items())
def test_times_have_the_precision_asked_for(precision, unit_ns):
    assert found("m,host=a x=1 5", precision) == [("a", 5 * unit_ns, "m_x", 1)]


def test_an_unknown_precision_is_told_the_known_ones():
    with pytest.raises(PayloadError, match=r"no precision 'd'; there are ns, us"):
        decode(b"", T, LIMITS, "d")


@pytest.mark.parametrize(
    "line",
    [
        "m,host=a",
        "m,host=a x",
        "m,host=a x=",
        "m,host=a =1",
        "m,host=a x=1,",
        "m,host=a x=one",
        "m,host=a x=nan",
        "m,host=a x=inf",
        "m,host=a x=1e999",
        "m,host=a x=1_0",
        "m,host=a x=-1u",
        "m,host=a x=1.5i",
        "m,host=a x=１",
        "m,host=a x=1 noon",
        "m,host=a x=1 7 8",
        "m,host=a x=1 1e9",
        "m,host=a x=1 99999999999999999999",
        'm,host=a s="never ends 7',
        'm,host=a s="x"y 7',
        "m,host= x=1 7",
        "m,host x=1 7",
        "m,host=a=b x=1 7",
        "m,host=a,host=b x=1 7",
        ",host=a x=1 7",
        "m x=1 7",
        "m,host=" + "v" * 257 + " x=1 7",
        "m,disk=sda x=1 7",
        "m,host=a,k=" + "v" * 4097 + " x=1 7",
        "m,host=a " + "k" * 300 + "=1 7",
        'm,host=a s="' + "v" * 4097 + '" 7',
        "m,host=a\xff x=1",
    ],
)
def test_a_bad_line_is_refused_and_the_others_kept(line):
    bad = line.encode("latin-1" if line.endswith("\xff x=1") else "utf-8")
    done = decode(b"m,host=a x=1 7\n" + bad + b"\nm,host=a x=2 8", T, LIMITS)
    assert [row["value"] for row in done.tables[0].to_pylist()] == [1.0, 2.0]
    assert done.rejected == 1
    assert done.refused[0].example


def test_a_bad_line_is_told_by_its_number():
    done = decode(b"# what follows\nm,host=a x=1\n\nm,host=a x=?\n", T, LIMITS)
    assert [(r.reason, r.example) for r in done.refused] == [
        ("a value was expected, found '?'", "line 4: m,host=a x=?")
    ]


def test_every_field_of_a_line_of_nobody_is_refused():
    assert decode(b"m,disk=sda x=1,y=2 7", T, LIMITS).rejected == 2


def test_labels_are_kept_and_site_and_cohort_lifted():
    done = decode(b"m,host=a,site=north,cohort=B,disk=sda x=1 7", T, LIMITS)
    (row,) = done.tables[0].to_pylist()
    assert json.loads(row["labels"]) == {"host": "a", "site": "north", "cohort": "B", "disk": "sda"}
    assert (row["site"], row["cohort"]) == ("north", "B")
    assert done.tables[0].schema == READINGS
    assert decode(b'm,host=a s="x"', T, LIMITS).tables[0].schema == TEXTS


NAMES = st.text(
    st.characters(
        codec="utf-8", exclude_characters="\n\r\\\0", exclude_categories=["Cc", "Zl", "Zp"]
    ),
    min_size=1,
    max_size=5,
).filter(lambda text: text == text.strip() and not text.startswith("#"))


@settings(max_examples=80)
@given(
    st.lists(
        st.builds(
            Reading,
            NAMES,
            st.integers(-(2**62), 2**62),
            st.sampled_from(["cpu_usage_idle", "a b_c,d"]),
            st.floats(allow_nan=False, allow_infinity=False),
            st.dictionaries(st.sampled_from(["disk", "k e=y"]), NAMES, max_size=2),
            st.none() | NAMES,
            st.none() | NAMES,
        ),
        min_size=1,
        max_size=10,
    )
)
def test_readings_come_out_as_they_went_in(readings):
    done = decode(influx(readings), T, LIMITS)
    assert done.refused == ()
    rows = done.tables[0].to_pylist()
    assert done.tables[0]["ts"].cast("int64").to_pylist() == [r.ts_ns for r in readings]
    assert [(r["device_id"], r["metric"], r["value"]) for r in rows] == [
        (r.device, r.metric, r.value) for r in readings
    ]
    assert [json.loads(r["labels"]) for r in rows] == [r.all_labels("host") for r in readings]


def test_what_was_seen_before_changes_speed_only(monkeypatch):
    draw = random.Random(6)
    lines = [f"m{k % 3},host=gw-{k % 5},n={k} a={k},b=2i {T + k}" for k in range(40)]
    bodies = ["\n".join(draw.choices(lines, k=50)).encode() for _ in range(20)]
    warm = [decode(body, T, LIMITS) for body in bodies]
    monkeypatch.setattr(influx_codec, "KNOWN_BYTES_MAX", 5_000)
    forgetful = [decode(body, T, LIMITS) for body in bodies]
    assert influx_codec._known[LIMITS].size < 100_000
    assert warm == forgetful


def test_more_readings_than_allowed_are_too_large():
    with pytest.raises(TooLarge):
        decode(b"m,host=a x=1,y=2,z=3", T, Limits(cells=14))


def test_a_body_of_nothing_but_bad_lines_is_no_line_protocol():
    with pytest.raises(PayloadError, match="more than 10000 lines are bad"):
        decode(b"x\n" * 10_001, T, LIMITS)


def test_damage_raises_nothing_else():
    draw = random.Random(2)
    body = rb'c\ pu,host=gw-1,k=a\,b x=1.5,y=2i,s="a \"b\" c",t=true 1760000000000000000'
    told = {True: 0, False: 0}
    for _ in range(2000):
        damaged = bytearray(body)
        for _ in range(draw.randint(1, 3)):
            damaged[draw.randrange(len(damaged))] = draw.choice(
                (*rb" ,=\"", 10, draw.randrange(256))
            )
        done = decode(bytes(damaged), T, LIMITS)
        told[done.rejected > 0] += 1
        for table in done.tables:
            table.validate(full=True)
    assert min(told.values()) > 100
