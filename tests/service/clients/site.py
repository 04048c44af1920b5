"""One service and all the clients that are installed, through a kill of the service."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from aiops.service.keys import KeyStore
from aiops.service.roles import Role
from tests.service.clients import collectd, scraped
from tests.service.clients.broker import Broker
from tests.service.clients.influx import Influx
from tests.service.clients.lossy import Lossy
from tests.service.clients.programs import MODULES, PROMETHEUS_3, Program, there
from tests.service.clients.scraped import Exporter, Target
from tests.service.clients.sdk import Application
from tests.service.running import Running, until

CONFIG = "[engine]\nepoch_s = 1\nlateness_s = 0\n"
EXPORTER = "prometheus-node-exporter"
SCRAPERS: dict[str, tuple[str, Callable[[Path, str, str, str, str], Program]]] = {
    "prometheus-2": ("prometheus", scraped.prometheus_2),
    "prometheus-3": (PROMETHEUS_3, scraped.prometheus_3),
    "vmagent": ("vmagent", scraped.vmagent),
}
"""Device -> program, and how it is run."""
MOSQUITTO = ("mosquitto", "mosquitto_pub", "mosquitto_sub")
COLLECTD = ("collectd-http", "collectd-mqtt")
SETTLE_S = 150.0


class Site:
    """Clients that run for some seconds, around a kill of the service: `live`, then look.

    All end with that but collectd, which forgets at its end what is under way.

    Each speaks for a device of its own, with a key for that device alone.
    """

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self._stack = folder, stack
        self.down_ns = (0, 0)
        """From the kill until the service listened again."""
        self.targets: dict[str, Target] = {}
        self.ways: dict[str, Lossy] = {}
        """By which those speak that send again what was not answered."""
        self.collectds: dict[str, Program] = {}
        self.broker = stack.enter_context(Broker(folder / "mqtt")) if there(*MOSQUITTO) else None
        config = CONFIG
        if self.broker is not None:
            until(self.broker.ready)
            config += self.broker.config()
        data = folder / "data"
        data.mkdir(mode=0o700)
        # Before the service starts: it looks for new ones once a second, and what is refused for
        # want of a key is not sent again.
        keys = KeyStore(data / "keys.json")
        devices = [*SCRAPERS, COLLECTD[0], "sdk", "influx-1"]
        self._keys = {name: keys.make(name, [Role.INGEST], [name])[0] for name in devices}
        self.service = stack.enter_context(Running(data, config, ready=False))
        self._start()

    def _way(self, name: str) -> str:
        self.ways[name] = self._stack.enter_context(Lossy(self.service.url))
        return self.ways[name].url

    def _start(self) -> None:
        """Start what is installed."""
        url, stack, folder = self.service.url, self._stack, self.folder
        if there(EXPORTER):
            exporter = stack.enter_context(Exporter(folder / "exporter"))
            until(exporter.ready)
            for name, (program, run) in SCRAPERS.items():
                if there(program):
                    target = self.targets[name] = stack.enter_context(Target(exporter.url))
                    way, token = self._way(name), self._keys[name]
                    stack.enter_context(run(folder / name, way, token, name, target.address))
        if there("collectd"):
            over_http, over_mqtt = COLLECTD
            self.collectds[over_http] = stack.enter_context(
                collectd.over_http(folder / over_http, over_http, url, self._keys[over_http])
            )
            if self.broker is not None:
                port = self.broker.plain_port
                self.collectds[over_mqtt] = stack.enter_context(
                    collectd.over_mqtt(folder / over_mqtt, over_mqtt, port)
                )
        self.sdk = None
        if there(*MODULES):
            self.sdk = stack.enter_context(Application(self._way("sdk"), self._keys["sdk"], "sdk"))
        self.influx = None
        if there("influxd"):
            self.influx = stack.enter_context(Influx(folder / "influxd"))
            until(self.influx.ready)
            self.influx.subscribe(url, "influxd", self._keys["influx-1"])
        if self.broker is not None:
            self.heard = stack.enter_context(self.broker.listener("gw-1"))
            self.device = stack.enter_context(self.broker.publisher("gw-1"))

    def live(self) -> None:
        """Let the clients work, kill the service, start it again, and let them end."""
        self._work(first=1)
        before = time.time_ns()
        self.service.kill()
        self._say(4, 5, 6)
        self.service.start()
        self.down_ns = before, time.time_ns()
        self._work(first=7)
        for way in self.ways.values():
            way.loses = False  # what was not answered is sent again, and then it is over
        for target in self.targets.values():
            target.end()
        if self.sdk is not None:
            self.sdk.stop()

    def _work(self, first: int) -> None:
        """Return when each client has had some turns."""
        turns = {name: target.turns + 3 for name, target in self.targets.items()}
        exports = self.sdk.turns + 3 if self.sdk is not None else 0
        since_ms = time.time_ns() // 1_000_000 + 2000
        if self.influx is not None:
            self.influx.write(*_lines(first))
        self._say(first, first + 1, first + 2)
        for name, target in self.targets.items():
            self.settles(partial(_reached, target, turns[name]), 0.1)
        if self.sdk is not None:
            self.settles(partial(_reached, self.sdk, exports), 0.1)
        for name, one in self.collectds.items():
            self.settles(partial(self._has_written, name, one, since_ms))
        if self.influx is not None:
            n = len(self.influx.points())
            self.settles(lambda: self.count("influx-1") >= n)
        if self.broker is not None:
            self.settles(lambda: first + 2 in self.acknowledged(), 0.1)

    def _has_written(self, name: str, one: Program, since_ms: int) -> bool:
        values = collectd.written(self.folder / name, name)
        return one.runs and max((value[2] for value in values), default=0) > since_ms

    def _say(self, *numbers: int) -> None:
        """Publish readings of a device that numbers them."""
        if self.broker is None:
            return
        for n in numbers:
            said = {"epoch": 3, "seq": n, "ts": time.time_ns(), "temperature": 20 + n / 10}
            self.device.tell(json.dumps(said))

    def settles(self, holds: Callable[[], object], every_s: float = 0.5) -> None:
        """Wait until something holds; the service must not have failed at anything."""

        def held() -> object:
            failed = [line for line in list(self.service.said) if '"level": "error"' in line]
            assert failed == [], failed[0]
            return holds()

        until(held, SETTLE_S, every_s)

    def acknowledged(self) -> list[int]:
        """Return the numbers that the device has been told are safe."""
        told = [json.loads(line) for line in self.heard.said.splitlines() if line.startswith("{")]
        assert all(one["epoch"] == 3 for one in told)
        return [one["seq"] for one in told]

    def rows(self, device: str, **query: str) -> list[dict[str, Any]]:
        """Return what the API has of a device."""
        return self.service.items("/v1/telemetry", device_id=device, **query)

    def count(self, device: str) -> int:
        """Return how many readings of a device the API has."""
        return len(self.rows(device))


def _reached(client: Target | Application, turns: int) -> bool:
    return client.turns >= turns


def _lines(first: int) -> list[str]:
    """Return lines of all kinds of fields."""
    now = time.time_ns()
    head = "smart,host=influx-1,device=sd\\ "
    return [f"{head}{k % 2} temp={30 + k / 7},wear={first + k}i,ok=t {now + k}" for k in range(20)]
