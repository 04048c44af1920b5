"""Log lines to templates."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiops.telemetry import templates as module
from aiops.telemetry.templates import ANY, EXAMPLE_MAX, LEAF_MAX, OTHER, Templates, masks, shown


def assign(templates: Templates, *lines: str) -> list[int]:
    return templates.assign(pa.array(lines, pa.string())).tolist()


@pytest.mark.parametrize(
    ("line", "masked"),
    [
        ("read error at 0x1f4a on mmc0", "read error at <*> on mmc<*>"),
        ("peer 10.0.0.7:8883 closed", "peer <*> closed"),
        ("host broker.local:1883 up", "host <*> up"),
        ("0b3c8f2e-1a2b-4c3d-9e8f-001122334455 gone", "<*> gone"),
        ("link de:ad:be:ef:00:01 lost", "link <*> lost"),
        ("open /var/lib/app/db.sqlite failed", "open <*> failed"),
        ("took 12.5 ms, sent 1189 bytes (1.16 KB)", "took <*>, sent <*>"),
        ("at 07:07:00 of 2025-06-17", "at <*> of <*>"),
        ("values 1, 2, 3 kept", "values <*> kept"),
        ("nothing varies here", "nothing varies here"),
        ("", ""),
    ],
)
def test_what_varies_in_any_log_is_masked(line, masked):
    assert masks(pa.array([line])).to_pylist() == [masked]


def test_lines_that_differ_in_what_varies_are_one_template():
    templates = Templates()
    a, b, c = assign(
        templates,
        "session opened for user ann by (uid=0)",
        "session opened for user bob by (uid=7)",
        "session closed for user bob",
    )
    assert a == b != c
    assert templates.text(a) == "session opened for user <*> by (uid=<*>)"
    assert templates.text(c) == "session closed for user bob"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("login failed; tty=ssh user=root", "login failed; tty=ssh user=guest"),
        ("dimmed and hidden, overlap:true", "dimmed and hidden, overlap:false"),
        ("proxy opened a connection HTTPS", "proxy opened a connection SOCKS"),
        ("could not connect: connection timed out", "could not connect: host not found"),
    ],
)
def test_words_that_say_something_else_are_not_taken_for_one_another(one, other):
    a, b = assign(Templates(), one, other)
    assert a != b


def test_an_endless_list_of_names_becomes_one_that_varies():
    """A constant has few values; where a leaf is full, what differs is no constant."""
    templates = Templates()
    names = [f"{a}{b}x" for a in "abcdefghij" for b in "abcdefghij"]
    found = assign(templates, *(f"login failed; tty=ssh user={name}" for name in names))
    assert len(set(found)) == LEAF_MAX
    assert OTHER not in found
    (again,) = assign(templates, "login failed; tty=ssh user=nobodyyet")
    assert again in found
    assert len(templates) == LEAF_MAX + 1


def test_junk_is_bounded_and_counted(monkeypatch):
    monkeypatch.setattr(module, "TEMPLATES_MAX", 50)
    monkeypatch.setattr(module, "KNOWN_MAX", 200)
    rng = np.random.default_rng(0)
    templates = Templates()
    letters = list("abcdefghijklmnop")
    for _ in range(20):
        junk = ["".join(rng.choice(letters, 9)) + " " + "".join(rng.choice(letters, 5)) * 3
                for _ in range(60)]  # fmt: skip
        assign(templates, *junk)
    assert len(templates) == 50
    assert templates.counts["lines"] == 1200
    assert templates.counts["other"] > 0
    assert len(json.dumps(templates.save())) < 100_000
    assert assign(templates, "word " * 5000)[0] in range(50)


def test_scopes_do_not_know_each_other():
    apart = Templates()
    lines = pa.array(["fan 1 ok", "fan 2 ok", "door open"])
    a, b, c = apart.assign(lines, np.array([0, 1, -1], np.int32), ["fw-1", "fw-2"]).tolist()
    assert len({a, b, c}) == 3
    again = apart.assign(lines, np.array([1, 0, -1], np.int32), ["fw-2", "fw-1"]).tolist()
    assert again == [a, b, c]


LINES = st.lists(
    st.builds(
        " ".join,
        st.lists(
            st.sampled_from(
                [
                    "disk",
                    "sda1",
                    "error",
                    "at",
                    "0x1f",
                    "user=root",
                    "user=ann",
                    "12",
                    "true",
                    "HTTPS",
                    "SOCKS",
                    "of",
                    "peer",
                    "10.0.0.1:22",
                ]
            ),
            max_size=6,
        ),
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(LINES, LINES, st.randoms())
def test_order_within_a_call_and_a_save_between_calls_change_nothing(first, second, random):
    straight = Templates()
    one, two = assign(straight, *first), assign(straight, *second)
    shuffled = list(range(len(first)))
    random.shuffle(shuffled)
    other = Templates()
    found = assign(other, *(first[k] for k in shuffled))
    assert [found[shuffled.index(k)] for k in range(len(first))] == one
    other = Templates.restore(json.loads(json.dumps(other.save())))
    assert assign(other, *second) == two
    assert other.save() == straight.save()


def test_what_is_quoted_is_one_short_printable_line():
    templates = Templates()
    (found,) = assign(templates, "boot\x1b[31m failed \u202e in\nstage 7 " + "long " * 100)
    said = templates.quote(found)
    assert said.isprintable()
    assert len(said) < 2 * EXAMPLE_MAX + 40
    assert "stage 7" in said
    assert shown("a\x00b\u2028c") == "a b c"


def test_the_example_is_a_line_that_came():
    templates = Templates()
    (found,) = set(assign(templates, "fan 9 stopped", "fan 2 stopped", "fan 5 stopped"))
    assert templates.quote(found) == "The line: “fan <*> stopped”, as in “fan 2 stopped”."
    assert templates.text(OTHER) == ANY
