from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from aiops.connectors.wire.limits import Limits
from aiops.connectors.wire.sparkplug import CONNECTED, REBIRTH, Sparkplug
from aiops.connectors.wire.sparkplug_b_pb2 import Metric, Payload
from aiops.errors import PayloadError, StateMismatch, TooLarge
from tests.connectors.wire.encoders import MS, SECOND, Reading
from tests.connectors.wire.encoders_more import sparkplug
from tests.connectors.wire.mutations import mutated

NOW = 1_790_000_000_000_000_000
NOW_MS = NOW // MS
LIMITS = Limits()
UNKNOWN = "an alias that no birth told: another is asked for"


class Host:
    """A decoder, and what it said and asked for."""

    def __init__(self, **bounds) -> None:
        self.decoder = Sparkplug(LIMITS, **bounds)
        self.now = NOW

    def take(self, kind, *metrics, node="n1", device="", **fields):
        topic = f"spBv1.0/plant/{kind}/{node}" + (f"/{device}" if device else "")
        payload = Payload(metrics=metrics, **({"timestamp": NOW_MS + 1000} | fields))
        decoded, commands = self.decoder.take(topic, payload.SerializeToString(), self.now)
        self.refused = {one.reason: one.count for one in decoded.refused}
        self.asked = [command.topic for command in commands]
        self.commands = commands
        self.rows = [row for table in decoded.tables for row in table.to_pylist()]
        return [(row["device_id"], row["metric"], row["value"]) for row in self.rows]

    def birth(self, *metrics, seq=0, bd_seq=1, sent=0, **where):
        told = [Metric(name="bdSeq", datatype=4, long_value=bd_seq), *metrics]
        return self.take("NBIRTH", *told, seq=seq, timestamp=NOW_MS + sent, **where)


TEMP = Metric(name="temp", alias=1, datatype=9, float_value=21.5)
COUNT = Metric(name="count", alias=2, datatype=1, int_value=5)


# Names -------------------------------------------------------------------------------------------


def test_a_birth_names_what_later_messages_number():
    host = Host()
    assert host.birth(TEMP, COUNT) == [
        ("n1", CONNECTED, 1.0),
        ("n1", "temp", 21.5),
        ("n1", "count", 5),
    ]
    data = [Metric(alias=1, float_value=22.0), Metric(alias=2, int_value=0xFF)]
    assert host.take("NDATA", *data, seq=1) == [("n1", "temp", 22.0), ("n1", "count", -1.0)]
    assert not host.asked
    assert {row["labels"] for row in host.rows} == {'{"group":"plant"}'}


def test_a_device_behind_a_node_has_names_of_its_own():
    host = Host()
    host.birth(TEMP)
    hardware = Metric(name="Properties/hw", alias=1, datatype=12, string_value="rev 3")
    got = host.take("DBIRTH", hardware, device="d1", seq=1)
    assert got == [("n1:d1", CONNECTED, 1.0), ("n1:d1", "Properties/hw", "rev 3")]
    data = Metric(alias=1, string_value="rev 4")
    assert host.take("DDATA", data, device="d1", seq=2) == [("n1:d1", "Properties/hw", "rev 4")]
    assert host.take("NDATA", Metric(alias=1, float_value=1.0), seq=3) == [("n1", "temp", 1.0)]
    assert not host.asked


def test_commands_of_a_node_and_what_is_null_are_no_readings():
    host = Host()
    commands = [Metric(name=REBIRTH, datatype=11, boolean_value=False),
                Metric(name="Device Control/Reset", datatype=11, boolean_value=False),
                Metric(name="temp", alias=1, datatype=9, is_null=True)]  # fmt: skip
    assert host.birth(*commands) == [("n1", CONNECTED, 1.0)]
    assert host.take("NDATA", Metric(alias=1, is_null=True), seq=1) == []
    assert not host.refused


def test_times_are_the_metric_s_else_the_message_s_else_now():
    host = Host()
    host.birth(
        Metric(name="a", datatype=9, float_value=1, timestamp=NOW_MS - 5, is_historical=True),
        Metric(name="b", datatype=9, float_value=1),
        sent=-7,
    )
    assert [row["ts"].value - NOW for row in host.rows] == [-7 * MS, -5 * MS, -7 * MS]
    host.take("NDATA", Metric(name="c", datatype=9, float_value=1), seq=1, timestamp=0)
    assert [row["ts"].value for row in host.rows] == [NOW]


def test_an_alias_of_two_names_means_neither():
    host = Host()
    host.birth(TEMP, Metric(name="other", alias=1, datatype=9, float_value=1))
    assert host.take("NDATA", Metric(alias=1, float_value=1.0), seq=1) == []
    assert host.refused == {"neither a name nor an alias of one metric": 1}
    assert not host.asked
    assert host.take("NDATA", Metric(float_value=1.0), seq=2) == []
    assert host.refused == {"neither a name nor an alias of one metric": 1}


# Values ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("datatype", "value", "reading"),
    [
        (1, {"int_value": 0xFB}, -5), (1, {"int_value": 0xFFFFFFFB}, -5),
        (1, {"int_value": 127}, 127),
        (2, {"int_value": 0x8000}, -32768), (3, {"int_value": 2**32 - 1}, -1),
        (3, {"long_value": 2**64 - 1}, -1), (4, {"long_value": 2**63}, -(2.0**63)),
        (4, {"int_value": 7}, 7), (5, {"int_value": 255}, 255), (6, {"int_value": 65535}, 65535),
        (7, {"int_value": 2**32 - 1}, 2**32 - 1), (8, {"long_value": 2**64 - 1}, 2.0**64),
        (9, {"float_value": 0.5}, 0.5), (10, {"double_value": 0.1}, 0.1),
        (10, {"float_value": 0.5}, 0.5), (11, {"boolean_value": True}, 1),
        (11, {"boolean_value": False}, 0), (12, {"string_value": "x"}, "x"),
        (13, {"long_value": NOW_MS}, NOW_MS), (14, {"string_value": ""}, ""),
        (15, {"string_value": "6b0e"}, "6b0e"),
        (0, {"int_value": 5}, 5), (0, {"double_value": 5}, 5), (0, {"string_value": "x"}, "x"),
    ],
)  # fmt: skip
def test_every_datatype_is_a_number_or_a_text(datatype, value, reading):
    got = Host().birth(Metric(name="m", datatype=datatype, **value))
    assert got[1:] == [("n1", "m", reading)]


@pytest.mark.parametrize(
    ("datatype", "value", "reason"),
    [
        (16, {"dataset_value": b"x"}, "a data set"), (17, {"bytes_value": b"x"}, "bytes"),
        (18, {"bytes_value": b"x"}, "a file"), (19, {"template_value": b"x"}, "a template"),
        (22, {"bytes_value": b"x"}, "an array or properties"), (34, {}, "an array or properties"),
        (3, {"string_value": "5"}, "no value, or none of its datatype"),
        (9, {"int_value": 5}, "no value, or none of its datatype"),
        (12, {"double_value": 5}, "no value, or none of its datatype"),
        (11, {"int_value": 1}, "no value, or none of its datatype"),
        (99, {"int_value": 1}, "no value, or none of its datatype"),
        (3, {}, "no value, or none of its datatype"),
        (0, {"int_value": 2**31}, "no value, or none of its datatype"),
        (0, {"long_value": 2**63}, "no value, or none of its datatype"),
        (0, {"bytes_value": b""}, "no value, or none of its datatype"),
    ],
)  # fmt: skip
def test_what_is_no_number_and_no_text_is_refused(datatype, value, reason):
    host = Host()
    assert host.birth(Metric(name="m", datatype=datatype, **value)) == [("n1", CONNECTED, 1.0)]
    assert host.refused == {reason: 1}


def test_datatypes_that_a_birth_told_hold_for_names_too():
    host = Host()
    host.birth(COUNT)
    assert host.take("NDATA", Metric(name="count", int_value=2**32 - 1), seq=1) == [
        ("n1", "count", -1)
    ]


# Order -------------------------------------------------------------------------------------------


def test_data_before_birth_is_refused_unless_it_spells_its_names_and_asks_once():
    host = Host()
    data = [Metric(alias=1, float_value=1.0), Metric(name="spelt", datatype=9, float_value=2.0)]
    assert host.take("NDATA", *data, seq=7) == [("n1", "spelt", 2.0)]
    assert host.refused == {UNKNOWN: 1}
    assert host.asked == ["spBv1.0/plant/NCMD/n1"]
    (command,) = host.commands
    asked = Payload.FromString(command.payload)
    ((name, datatype, value),) = [(m.name, m.datatype, m.boolean_value) for m in asked.metrics]
    assert (name, datatype, value, asked.timestamp) == (REBIRTH, 11, True, NOW_MS)
    host.take("NDATA", *data, seq=8)
    assert host.asked == []
    host.birth(TEMP)
    assert host.take("NDATA", Metric(alias=1, float_value=3.0), seq=1) == [("n1", "temp", 3.0)]


@pytest.mark.parametrize("seq", [3, 0, 255])
def test_a_gap_asks_once_and_nothing_is_named_until_the_next_birth(seq):
    host = Host()
    host.birth(TEMP)
    assert host.take("NDATA", Metric(alias=1, float_value=1.0), seq=1)
    assert host.take("NDATA", Metric(alias=1, float_value=1.0), seq=seq) == []
    assert len(host.asked) == 1
    assert host.take("NDATA", Metric(alias=1, float_value=1.0), seq=2) == []
    assert host.asked == []
    assert host.birth(TEMP, sent=1)
    assert host.take("NDATA", Metric(alias=1, float_value=4.0), seq=1) == [("n1", "temp", 4.0)]


def test_the_number_goes_on_at_0_after_255_and_is_of_all_of_the_node_s_messages():
    host = Host()
    host.birth(TEMP, seq=253)
    host.take("DBIRTH", TEMP, device="d", seq=254)
    host.take("DDATA", Metric(alias=1, float_value=1.0), device="d", seq=255)
    assert host.take("NDATA", Metric(alias=1, float_value=1.0), seq=0) == [("n1", "temp", 1.0)]
    host.take("DDEATH", device="d", seq=1)
    assert host.take("NDATA", Metric(alias=1, float_value=2.0), seq=2) == [("n1", "temp", 2.0)]
    assert not host.asked


def test_the_same_message_twice_is_the_same_readings_and_no_gap():
    host = Host()
    host.birth(TEMP)
    for _ in range(2):
        host.birth(TEMP)
        assert not host.asked
    for _ in range(2):
        got = host.take("NDATA", Metric(alias=1, float_value=1.0), seq=1)
        assert got == [("n1", "temp", 1.0)]
    assert host.take("NDATA", Metric(alias=1, float_value=2.0), seq=2)


def test_an_unknown_alias_asks_for_a_birth():
    host = Host()
    host.birth(TEMP)
    assert host.take("DDATA", Metric(alias=1, float_value=1.0), device="d", seq=1) == []
    assert host.asked


def test_a_message_from_before_the_birth_is_not_read_by_its_names():
    host = Host()
    host.birth(TEMP)
    old = Metric(alias=1, float_value=1.0)
    assert host.take("NDATA", old, seq=1, timestamp=NOW_MS - 1) == []
    assert host.asked


def test_a_birth_that_comes_late_is_not_believed():
    host = Host()
    host.birth(TEMP, sent=10)
    host.birth(Metric(name="old", alias=1, datatype=9, float_value=1.0), sent=5)
    assert host.asked
    assert host.take("NDATA", Metric(alias=1, float_value=1.0), seq=1) == []
    host.now += 60 * SECOND
    host.birth(TEMP, sent=6)  # its clock was set back after all
    assert host.take("NDATA", Metric(alias=1, float_value=1.0), seq=1) == [("n1", "temp", 1.0)]


def test_one_node_is_not_asked_again_at_once_and_again_if_no_birth_comes():
    host = Host(pause_ns=10 * SECOND, patience_ns=100 * SECOND)
    seen = []
    for second in range(0, 300, 5):
        host.now = NOW + second * SECOND
        host.take("NDATA", Metric(alias=1, float_value=1.0), seq=7)
        seen += [second] * len(host.asked)
    assert seen == [0, 100, 200]
    for second in range(300, 350, 5):  # two senders under one name
        host.now = NOW + second * SECOND
        host.birth(TEMP, sent=second)
        host.take("NDATA", Metric(alias=1, float_value=1.0), seq=7)
        seen += [second] * len(host.asked)
    assert seen == [0, 100, 200, 300, 310, 320, 330, 340]


# Deaths ------------------------------------------------------------------------------------------


def test_a_node_dies_with_its_devices_and_its_names():
    host = Host()
    host.birth(TEMP, bd_seq=4)
    host.take("DBIRTH", TEMP, device="d", seq=1)
    host.now += SECOND
    will = Metric(name="bdSeq", datatype=4, long_value=4)
    got = host.take("NDEATH", will, timestamp=NOW_MS - 1000)
    assert got == [("n1", CONNECTED, 0.0), ("n1:d", CONNECTED, 0.0)]
    assert [row["ts"].value for row in host.rows] == [NOW + SECOND] * 2  # not when it connected
    assert not host.asked
    assert host.take("NDATA", Metric(alias=1, float_value=1.0), seq=2) == []
    assert host.asked


def test_the_death_of_a_session_that_is_over_is_refused():
    host = Host()
    host.birth(TEMP, bd_seq=5)
    assert host.take("NDEATH", Metric(name="bdSeq", datatype=4, long_value=4)) == []
    assert host.refused == {"the death of a session that is over": 1}
    assert host.take("NDATA", Metric(alias=1, float_value=1.0), seq=1) == [("n1", "temp", 1.0)]


def test_a_death_without_a_number_or_a_birth_is_one():
    host = Host()
    assert host.take("NDEATH") == [("n1", CONNECTED, 0.0)]
    host.birth(TEMP)
    assert host.take("NDEATH") == [("n1", CONNECTED, 0.0)]
    assert not host.asked


def test_a_device_dies_alone():
    host = Host()
    host.birth(TEMP)
    host.take("DBIRTH", TEMP, device="d", seq=1)
    assert host.take("DDEATH", device="d", seq=2) == [("n1:d", CONNECTED, 0.0)]
    assert host.take("NDATA", Metric(alias=1, float_value=1.0), seq=3) == [("n1", "temp", 1.0)]
    assert host.take("DDATA", Metric(alias=1, float_value=1.0), device="d", seq=4) == []
    assert host.asked
    host.birth(TEMP, sent=1)
    assert host.take("NDEATH") == [("n1", CONNECTED, 0.0)]


# Bounds and state --------------------------------------------------------------------------------


def test_no_more_nodes_are_remembered_than_allowed_and_the_dead_are_forgotten_first():
    host = Host(nodes=2)
    host.birth(TEMP, node="a")
    host.birth(TEMP, node="b")
    assert host.birth(TEMP, node="c") == []
    assert host.refused == {"more edge nodes than can be remembered": 2}
    assert not host.asked
    host.take("NDEATH", node="a")
    assert host.birth(TEMP, node="c")
    assert host.take("NDATA", Metric(alias=1, float_value=1.0), node="b", seq=1)


def test_no_more_names_are_remembered_than_allowed():
    host = Host(names=8)
    many = [Metric(name=f"m{i}", alias=i, datatype=9, float_value=1.0) for i in range(5)]
    host.birth(*many)
    with pytest.raises(TooLarge, match="7 of 8 that can be remembered"):
        host.take("DBIRTH", *many, device="d", seq=1)
    assert host.take("NDATA", Metric(alias=4, float_value=1.0), seq=1)
    host.take("NDEATH")
    assert host.birth(*many, node="n2")


def test_a_message_of_too_many_metrics_is_refused_before_any_is_read():
    decoder = Sparkplug(Limits(cells=7 * 100))
    with pytest.raises(TooLarge, match="more than 99 metrics"):
        decoder.take("spBv1.0/g/NBIRTH/n", b"\x12\x00" * 100, NOW)


def test_what_was_remembered_is_remembered_again():
    host = Host()
    host.birth(TEMP, COUNT)
    host.take("DBIRTH", TEMP, device="d", seq=1)
    host.take("NDATA", Metric(alias=9, int_value=1), node="n2", seq=1)
    state = json.loads(json.dumps(host.decoder.save()))
    again = Host()
    again.decoder.restore(state)
    assert again.decoder.save() == state
    assert again.take("NDATA", Metric(alias=2, int_value=0xFF), seq=2) == [("n1", "count", -1.0)]
    again.take("NDATA", Metric(alias=9, int_value=1), node="n2", seq=2)
    assert not again.asked
    assert again.take("NDEATH") == [("n1", CONNECTED, 0.0), ("n1:d", CONNECTED, 0.0)]


@pytest.mark.parametrize(
    "state", [{}, {"version": 2, "nodes": {}}, {"version": 1, "nodes": {"a": 1}}]
)
def test_a_state_of_something_else_is_refused(state):
    with pytest.raises(StateMismatch, match="version 1"):
        Sparkplug(LIMITS).restore(state)


@pytest.mark.parametrize(
    "topic",
    ["", "spBv1.0", "spAv1.0/g/NDATA/n", "spBv1.0/g/NDATA/n/d", "spBv1.0/g/DDATA/n",
     "spBv1.0/g/DDATA/n/",
     "spBv1.0//NDATA/n", "spBv1.0/g/NDATA/", "spBv1.0/g/NMETA/n", "spBv1.0/g/NDATA/" + "n" * 300],
)  # fmt: skip
def test_a_topic_of_no_message_is_refused(topic):
    with pytest.raises(PayloadError, match="GROUP/KIND/NODE"):
        Sparkplug(LIMITS).take(topic, b"", NOW)


@pytest.mark.parametrize("topic", ["spBv1.0/STATE/host", "spBv1.0/g/NCMD/n", "spBv1.0/g/DCMD/n/d"])
def test_commands_and_states_say_nothing(topic):
    decoded, commands = Sparkplug(LIMITS).take(topic, b"ONLINE", NOW)
    assert (decoded.tables, decoded.rejected, commands) == ((), 0, ())


def test_a_payload_of_something_else_is_refused():
    for payload in (b"\xff", b"ONLINE", b"\x12\x04\x0a\x02\xff\xfe"):
        with pytest.raises(PayloadError, match="none of Sparkplug B"):
            Sparkplug(LIMITS).take("spBv1.0/g/NDATA/n", payload, NOW)


def test_a_damaged_payload_is_read_or_refused():
    decoder = Sparkplug(LIMITS)
    text = Metric(name="s", alias=3, datatype=12, string_value="grün")
    long = Metric(name="l", alias=4, datatype=4, long_value=2**63, timestamp=NOW_MS)
    payload = Payload(
        timestamp=NOW_MS, seq=0, metrics=[TEMP, COUNT, text, long]
    ).SerializeToString()
    refused = 0
    kinds = ("NBIRTH/n", "NDATA/n", "DBIRTH/n/d", "DDATA/n/d", "NDEATH/n", "DDEATH/n/d")
    for i, damaged in enumerate(mutated(payload, 2000)):
        try:
            decoder.take(f"spBv1.0/g/{kinds[i % len(kinds)]}", damaged, NOW)
        except PayloadError:
            refused += 1
    assert 200 < refused < 2000
    assert decoder._names == sum(map(len, decoder._sessions.values()))


PLACELESS = {"labels": st.just({}), "site": st.none(), "cohort": st.none()}
PLAIN = st.builds(
    Reading,
    device=st.sampled_from(["gw-1", "gw-2"]),
    ts_ns=st.integers(1_000_000_000_000, 3_000_000_000_000).map(lambda ms: ms * MS),
    metric=st.sampled_from(["temp", "cpu.load", "a/b/größe"]),
    value=st.floats(),
    **PLACELESS,
)


@settings(max_examples=60)
@given(st.lists(PLAIN, max_size=20))
def test_readings_come_out_as_they_went_in(readings):
    decoder = Sparkplug(LIMITS)
    found = []
    for topic, payload in sparkplug(readings):
        decoded, commands = decoder.take(topic, payload, NOW)
        assert not commands
        assert not decoded.refused
        found += [row for table in decoded.tables for row in table.to_pylist()]
    told = [
        (r["device_id"], r["ts"].value, r["metric"], r["value"])
        for r in found
        if r["metric"] != CONNECTED
    ]
    assert sorted(map(str, told)) == sorted(str(tuple(r[:4])) for r in readings)


# A network that loses, doubles and exchanges messages -------------------------------------------


class Network(RuleBasedStateMachine):
    """One node whose aliases mean something else after every restart.

    A value tells which metric it is of, so a wrong name shows. The broker tells of a death at once
    (a will is at least once, and its own), so messages of a session that is over may come late,
    but its births do not: no host could tell those from the next session's.
    """

    names = ("a", "b", "c")

    def __init__(self) -> None:
        super().__init__()
        self.host = Host(pause_ns=0, patience_ns=10**18)
        self.sent_ms = NOW_MS
        self.session = 0
        self.seq = -1
        self.air: list[tuple[str, Payload]] = []
        self.asks_since_birth = 0
        self.unsure = True
        self.restart()

    def send(self, kind, *metrics) -> None:
        self.seq = 0 if kind == "NBIRTH" else (self.seq + 1) % 256
        self.sent_ms += 1
        payload = Payload(timestamp=self.sent_ms, seq=self.seq, metrics=metrics)
        self.air.append((kind, payload))

    def alias(self, name: str) -> int:
        return (self.names.index(name) + self.session) % len(self.names)

    def metric(self, name: str, spelt: bool) -> Metric:
        fields = {"name": name, "datatype": 10} if spelt else {}
        return Metric(alias=self.alias(name), double_value=self.names.index(name), **fields)

    @rule()
    def rebirth(self) -> None:
        bd_seq = Metric(name="bdSeq", datatype=4, long_value=self.session)
        self.send("NBIRTH", bd_seq, *[self.metric(name, True) for name in self.names])

    @rule()
    def restart(self) -> None:
        self.air = [message for message in self.air if message[0] != "NBIRTH"]
        self.deliver("NDEATH", Payload())
        self.session += 1
        self.rebirth()

    @rule(name=st.sampled_from(names), spelt=st.booleans())
    def data(self, name, spelt) -> None:
        self.send("NDATA", self.metric(name, spelt))

    @precondition(lambda self: self.air)
    @rule(at=st.integers(0, 3), keep=st.booleans())
    def arrive(self, at, keep) -> None:
        """Let a message arrive, now and then before others or more than once."""
        at %= len(self.air)
        message = self.air[at] if keep else self.air.pop(at)
        self.deliver(*message)

    @precondition(lambda self: self.air)
    @rule(at=st.integers(0, 3))
    def lose(self, at) -> None:
        self.air.pop(at % len(self.air))

    def deliver(self, kind, payload) -> None:
        fields = {"seq": payload.seq, "timestamp": payload.timestamp} if payload.metrics else {}
        got = self.host.take(kind, *payload.metrics, **fields)
        for _, metric, value in got:
            assert metric == CONNECTED or self.names[int(value)] == metric
        if kind == "NBIRTH":
            self.asks_since_birth = 0
        self.asks_since_birth += len(self.host.asked)
        if self.host.refused:
            assert self.host.refused == {UNKNOWN: 1}
            assert self.asks_since_birth == 1

    @invariant()
    def no_birth_is_asked_for_twice(self) -> None:
        assert self.asks_since_birth <= 1

    def teardown(self) -> None:
        """After a birth in an orderly network all is understood."""
        self.air.clear()
        self.rebirth()
        for name in self.names * 3:
            self.data(name, False)
        self.deliver(*self.air[0])
        for message in self.air[1:]:
            self.deliver(*message)
            assert not self.host.refused


TestNetwork = Network.TestCase
TestNetwork.settings = settings(max_examples=60, stateful_step_count=40)
