"""Clients that nobody here wrote send to one service, which is killed while they do.

Each is asked in its own way what it has; all of that must be in the API then, once.
"""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from tests.service.clients import collectd
from tests.service.clients.programs import MODULES, needs
from tests.service.clients.scraped import NUMBER, is_own, sample_of
from tests.service.clients.site import COLLECTD, EXPORTER, MOSQUITTO, SCRAPERS, Site
from tests.service.running import until

SLACK_MS = 2500
"""collectd keeps values for up to two intervals before it posts them."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":
        pytest.skip("a service runs compiled")
    with ExitStack() as stack:
        site = Site(tmp_path_factory.mktemp("site"), stack)
        site.live()
        yield site


def ns_of(row: dict[str, Any]) -> int:
    return int(np.datetime64(row["ts"].rstrip("Z"), "ns").astype(np.int64))


def same(found: Counter[Any], expected: Counter[Any]) -> None:
    """Fail unless they are, showing a few of what differs."""
    missing, surplus = expected - found, found - expected
    assert sorted(map(str, missing))[:4] == [], f"{missing.total()} are missing"
    assert sorted(map(str, surplus))[:4] == [], f"{surplus.total()} are too many"


def close(found: float | None, told: float | None, digits: int) -> bool:
    if found is None or told is None:
        return found is told
    return math.isclose(found, told, rel_tol=10.0**-digits)


V1 = "", "0.1.0"
V2 = ";proto=io.prometheus.write.v2.Request", "2.0.0"
SPEAKS = {"prometheus-2": V1, "prometheus-3": V2, "vmagent": V1}


@pytest.mark.parametrize(
    ("name", "proto", "version"),
    [pytest.param(n, *SPEAKS[n], marks=needs(EXPORTER, p)) for n, (p, _) in SCRAPERS.items()],
    ids=list(SCRAPERS),
)
def test_every_sample_of_a_scraper_is_there_once(
    site: Site, name: str, proto: str, version: str
) -> None:
    target = site.targets[name]

    def ended() -> bool:
        """Say whether the end of each series is there: one instant, after which nothing comes."""
        rows = [row for row in site.rows(name) if not is_own(row)]
        at = max(row["ts"] for row in rows)
        ends = [row for row in rows if row["ts"] == at and row["value"] is None]
        return len(ends) >= len(target.samples(target.turns))

    site.settles(ended)
    site.settles(site.ways[name].settled)
    rows = site.rows(name)
    ours = [row for row in rows if not is_own(row)]
    at = {int(row["value"]): row["ts"] for row in ours if row["metric"] == NUMBER and row["value"]}
    up = Counter((row["ts"], row["value"]) for row in rows if row["metric"] == "up")
    assert set(up.values()) == {1}
    scrapes = {ts for ts, value in up if value == 1}
    # A scrape that took too long has failed, says the scraper itself.
    failed = [ts for ts, value in up if value == 0 and ts < max(scrapes)]
    assert len(at) == len(target.served) - len(failed)
    assert set(at.values()) == scrapes
    assert len(at) >= 6

    expected = {
        (sample, at[number]): value
        for number in at
        for sample, value in target.samples(number, instance=name, job="node").items()
    }
    samples = [row for row in ours if row["ts"] in scrapes]
    assert len(expected) > 1000
    same(Counter((sample_of(row), row["ts"]) for row in samples), Counter(expected.keys()))
    digits = 15 if name == "vmagent" else 17  # it reads numbers faster than exactly
    assert [
        (row, told)
        for row in samples
        if not close(row["value"], told := expected[sample_of(row), row["ts"]], digits)
    ] == []
    assert len(site.ways[name].lost) >= 2
    assert site.ways[name].spoken == {("application/x-protobuf" + proto, "snappy", version)}

    beside = [row for row in ours if row["ts"] not in scrapes]
    assert {row["value"] for row in beside} == {None}, "series ended, and nothing else"
    last = target.samples(max(at), instance=name, job="node")
    end = [sample_of(row) for row in beside if row["ts"] > max(scrapes)]
    same(Counter(end), Counter(last.keys()))


@needs(*MODULES)
def test_every_point_of_the_opentelemetry_sdk_is_there_once(site: Site) -> None:
    assert site.sdk is not None
    points = Counter(site.sdk.points())
    site.settles(site.ways["sdk"].settled)
    resource = {"host.name", "service.name", "service.instance.id"}
    found = Counter(
        (
            row["metric"],
            tuple(
                (name, value)
                for name, value in sorted(row["labels"].items())
                if name not in resource and not name.startswith("telemetry.sdk.")
            ),
            ns_of(row),
            row["value"],
        )
        for row in site.rows("sdk")
    )
    assert len(points) > 100
    same(found, points)
    assert len(site.ways["sdk"].lost) >= 2
    assert site.ways["sdk"].spoken == {("application/x-protobuf", "gzip", None)}


def of_collectd(site: Site, name: str) -> tuple[Counter[Any], Counter[Any]]:
    """Return what the API has, and what collectd wrote to its files, to its six digits."""
    found = Counter(
        (
            row["metric"],
            tuple(sorted(row["labels"].items())),
            ns_of(row) // 1_000_000,
            round(row["value"], 6),
        )
        for row in site.rows(name)
    )
    return found, Counter(collectd.written(site.folder / name, name))


def lost_by_collectd(site: Site, name: str) -> Counter[Any]:
    """Return what it wrote until now, did not give up, and is not there; then stop it."""
    now_ms = time.time_ns() // 1_000_000
    client = site.collectds[name]

    def lost() -> Counter[Any]:
        found, written = of_collectd(site, name)
        gone_ms = collectd.failures_ms(client.said)
        return Counter(
            {
                one: n
                for one, n in (written - found).items()
                if one[2] < now_ms and not any(-1000 <= ms - one[2] <= SLACK_MS for ms in gone_ms)
            }
        )

    site.settles(lambda: not lost())
    client.stop()
    return lost()


@needs("collectd", *MOSQUITTO)
def test_every_value_that_collectd_publishes_is_there_once(site: Site) -> None:
    name = COLLECTD[1]
    assert lost_by_collectd(site, name) == Counter()
    found, written = of_collectd(site, name)
    assert len(found) > 200
    assert found - written == Counter()


@needs("collectd")
def test_what_collectd_posts_is_what_it_wrote_and_is_there_once(site: Site) -> None:
    # It tries once: what it could not post, as while the service was down, it forgets.
    name = COLLECTD[0]
    down_ms, up_ms = (ns // 1_000_000 for ns in site.down_ns)
    site.settles(lambda: any(one[2] > up_ms for one in of_collectd(site, name)[0]))
    site.collectds[name].stop()
    found, written = of_collectd(site, name)
    assert found - written == Counter()
    assert any(one[2] < down_ms for one in found)


@needs("influxd")
def test_every_point_that_influxd_hands_on_is_there_once(site: Site) -> None:
    assert site.influx is not None
    points = Counter(site.influx.points())
    assert points.total() == 2 * 20 * 3
    found = Counter(
        (row["metric"], tuple(sorted(row["labels"].items())), ns_of(row), row["value"])
        for row in site.rows("influx-1")
    )
    same(found, points)


@needs(*MOSQUITTO)
def test_a_device_hears_what_is_safe_and_that_is_there_once(site: Site) -> None:
    site.settles(lambda: set(site.acknowledged()) == set(range(1, 10)))
    rows = site.rows("gw-1")
    assert [(row["metric"], row["value"]) for row in rows] == [
        ("temperature", 20 + n / 10) for n in range(1, 10)
    ]


@needs(*MOSQUITTO)
def test_a_device_writes_under_its_own_name_only(site: Site) -> None:
    assert site.broker is not None
    said = site.broker.publish("fleet/gw-2/metrics", '{"t": 1}', *site.broker.as_device("gw-3"))
    assert "Not authorized" in said.stderr
    nobody = site.broker.publish("fleet/gw-2/metrics", '{"t": 1}', *site.broker.as_nobody())
    assert nobody.returncode != 0
    own = site.broker.publish("fleet/gw-3/metrics", '{"t": 1}', *site.broker.as_device("gw-3"))
    assert (own.returncode, own.stderr) == (0, "")
    site.settles(lambda: site.count("gw-3") == 1)
    assert site.rows("gw-2") == []


@needs(EXPORTER)
def test_the_engine_goes_on_over_all_that(site: Site) -> None:
    def judged() -> bool:
        assert "stopped" not in (said := site.service.client.get("/readyz").text), said
        figures = site.service.metrics()
        return figures["aiops_log_judged_seq"] >= figures["aiops_log_last_seq"] > 0

    until(judged, 180.0, 0.5)
