"""One hour of a fleet through every protocol: the same table, and the same engine behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest

from aiops.connectors.replay import stamped
from aiops.connectors.wire import (
    arrow,
    collectd,
    influx,
    mqtt_json,
    ndjson,
    otlp,
    remote_write,
)
from aiops.connectors.wire.decoded import Decoded
from aiops.connectors.wire.limits import Limits, unpack
from aiops.connectors.wire.packing import pack
from aiops.connectors.wire.sparkplug import Sparkplug
from aiops.engine.engine import Engine
from aiops.engine.ports import LogRecord
from aiops.telemetry.normalise import normalise
from tests.connectors.wire import encoders, encoders_more
from tests.connectors.wire.encoders import Reading

BEGIN_NS = 1_772_323_200 * 10**9
MINUTE_NS = 60 * 10**9
LIMITS = Limits()
NOW_NS = BEGIN_NS + 61 * MINUTE_NS

Content = dict[tuple[str, str, str, int], dict[str, float]]


def hour(names: Iterable[str], **about: str) -> list[Reading]:
    """Five devices that report once a minute, each a little later than the one before."""
    rng = np.random.default_rng(7)
    return [
        Reading(
            f"gw-{d}",
            BEGIN_NS + m * MINUTE_NS + d * 10**9,
            name,
            round(rng.uniform(20, 60), 3),
            **about,
        )
        for m in range(60)
        for d in range(5)
        for name in names
    ]


NAMES = ("node_hwmon_temp_celsius", "node_load1", "node_boot_time_seconds")
PLAIN = hour(NAMES)
PLACED = hour(NAMES, site="lyon", cohort="cm4")
COLLECTD = hour(("collectd.sensors.temperature", "collectd.uptime.uptime", "collectd.load.load"))


def messages(decode: Callable[[str, bytes], Decoded], sent: Iterable[tuple[str, bytes]]) -> Decoded:
    found = [decode(topic, body) for topic, body in sent]
    return Decoded(
        tuple(table for one in found for table in one.tables),
        tuple(refused for one in found for refused in one.refused),
    )


def over_sparkplug(readings: list[Reading]) -> Decoded:
    session = Sparkplug(LIMITS)
    return messages(
        lambda topic, body: session.take(topic, body, NOW_NS)[0],
        encoders_more.sparkplug(readings),
    )


def over_mqtt(sent: Iterable[tuple[str, bytes]]) -> Decoded:
    return messages(lambda topic, body: mqtt_json.decode(topic, body, NOW_NS, LIMITS), sent)


def one_body(
    decode: Callable[..., Decoded], encode: Callable[..., bytes], encoding: str = "identity"
) -> Callable[[list[Reading]], Decoded]:
    return lambda readings: decode(unpack(encode(readings), encoding, LIMITS), NOW_NS, LIMITS)


def over_collectd_mqtt(readings: list[Reading]) -> Decoded:
    return messages(
        lambda topic, body: collectd.decode_text(topic, body, NOW_NS, LIMITS),
        map(encoders.collectd_text, readings),
    )


WITH_LABELS: dict[str, Callable[[list[Reading]], Decoded]] = {
    "ndjson": one_body(ndjson.decode, encoders.ndjson),
    "json": one_body(ndjson.decode_json, encoders.json_array),
    "remote write 1.0": one_body(
        remote_write.decode_v1, lambda r: encoders.snappy(encoders.remote_write_v1(r)), "snappy"
    ),
    "remote write 2.0": one_body(
        remote_write.decode_v2, lambda r: encoders.snappy(encoders.remote_write_v2(r)), "snappy"
    ),
    "OTLP": one_body(otlp.decode_metrics, encoders_more.otlp),
    "OTLP as JSON": lambda readings: otlp.decode_metrics(
        encoders_more.otlp_json(readings), NOW_NS, LIMITS, json=True
    ),
    "Influx": one_body(influx.decode, encoders.influx),
    "MQTT rows": lambda readings: over_mqtt(encoders_more.mqtt_rows(readings)),
    "MQTT objects": lambda readings: over_mqtt(encoders_more.mqtt_objects(readings)),
}
WITHOUT: dict[str, Callable[[list[Reading]], Decoded]] = {
    "SenML": lambda readings: over_mqtt(encoders_more.senml(readings)),
    "Sparkplug B": over_sparkplug,
}
OF_COLLECTD: dict[str, Callable[[list[Reading]], Decoded]] = {
    "collectd over HTTP": one_body(collectd.decode, encoders.collectd),
    "collectd over MQTT": over_collectd_mqtt,
}
CASES = [
    *((name, way, readings) for name, way in WITH_LABELS.items() for readings in (PLAIN, PLACED)),
    *((name, way, PLAIN) for name, way in WITHOUT.items()),
    *((name, way, COLLECTD) for name, way in OF_COLLECTD.items()),
]


def content(decoded: Decoded) -> Content:
    """What the log's tables say, whatever their form: instant -> canonical metric -> value."""
    record = LogRecord("telemetry", pack(decoded.tables), NOW_NS)
    found: Content = {}
    for table in stamped(record):
        frame = normalise(table)
        assert not len(frame.set_aside)
        for name, column in frame.columns.items():
            row = np.arange(len(frame)) if column.row is None else column.row
            for i, value in zip(row.tolist(), column.value.tolist(), strict=True):
                # Births and deaths say more than the readings do: Sparkplug alone has them.
                if value == value and name != "device.connected":
                    place = (
                        frame.device_id.value[frame.device_id.code[i]],
                        *(
                            "" if one is None or one.code[i] < 0 else one.value[one.code[i]]
                            for one in (frame.site, frame.cohort)
                        ),
                        int(frame.ts[i]),
                    )
                    found.setdefault(place, {})[name] = value
    return found


def judged(decoded: Decoded) -> dict[tuple[str, int, str], float]:
    """What the detectors said: device, time and detector -> score."""
    engine = Engine()
    record = LogRecord("telemetry", pack(decoded.tables), NOW_NS)
    steps = [engine.step(table) for table in stamped(record)]
    beat = LogRecord("heartbeat", b"", NOW_NS + 10 * MINUTE_NS)
    steps += [engine.step(table) for table in stamped(beat)]
    return {
        (one.identities[device][0], ts, one.detector): score
        for step in steps
        for one in step.scored
        for device, ts, score in zip(
            one.batch.device.tolist(), one.batch.ts.tolist(), one.scores.score.tolist(), strict=True
        )
        if score == score
    }


@pytest.mark.parametrize(
    ("way", "readings"),
    [
        pytest.param(way, readings, id=f"{name}-{i}")
        for i, (name, way, readings) in enumerate(CASES)
    ],
)
def test_one_hour_sent_by_any_protocol_is_the_same_table(
    way: Callable[[list[Reading]], Decoded], readings: list[Reading]
) -> None:
    plain = arrow.decode(encoders.arrow(readings), NOW_NS, LIMITS)
    decoded = way(readings)
    assert not decoded.refused
    expected = content(plain)
    assert len(expected) == 300
    assert content(decoded) == expected
    assert judged(decoded) == judged(plain)
