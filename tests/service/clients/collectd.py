"""collectd: it writes the same values to a file that it sends."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

from tests.service.clients.programs import Program, path_of

READS = ("cpu", "contextswitch", "df", "interface", "load", "memory", "processes", "uptime")
Value = tuple[str, tuple[tuple[str, str], ...], int, float]
"""Metric, labels, time in ms and value."""


def over_http(folder: Path, host: str, url: str, token: str) -> Program:
    """Run collectd with write_http; what it could not hand over it forgets."""
    return _collectd(
        folder,
        host,
        f"""LoadPlugin write_http
<Plugin write_http>
  <Node "aiops">
    URL "{url}/collectd"
    User "{host}"
    Password "{token}"
    Format "JSON"
    StoreRates false
    LogHttpError true
    BufferSize 1024
  </Node>
</Plugin>""",
    )


def over_mqtt(folder: Path, host: str, port: int) -> Program:
    """Run collectd with its MQTT plugin, at least once (QoS 1)."""
    return _collectd(
        folder,
        host,
        f"""LoadPlugin mqtt
<Plugin mqtt>
  <Publish "aiops">
    Host "127.0.0.1"
    Port {port}
    ClientId "{host}"
    Prefix "collectd"
    QoS 1
    StoreRates false
  </Publish>
</Plugin>""",
    )


def _collectd(folder: Path, host: str, sends: str) -> Program:
    path = path_of("collectd")
    folder.mkdir(parents=True)
    config = folder / "collectd.conf"
    loads = "\n".join(f"LoadPlugin {name}" for name in READS)
    config.write_text(f"""Hostname "{host}"
FQDNLookup false
Interval 1
BaseDir "{folder}"
PIDFile "{folder / "pid"}"
TypesDB "/usr/share/collectd/types.db"
LoadPlugin logfile
<Plugin logfile>
  LogLevel "info"
  File STDOUT
</Plugin>
LoadPlugin csv
<Plugin csv>
  DataDir "{folder / "csv"}"
  StoreRates false
</Plugin>
{loads}
{sends}
""")
    return Program(folder, path, "-f", "-C", str(config), TZ="UTC")


def failures_ms(said: str) -> list[int]:
    """Return when a post failed, in ms, as it says itself; to the second."""
    lines = re.findall(r"^\[([0-9: -]{19})\] write_http plugin: ", said, re.MULTILINE)
    return [int(datetime.fromisoformat(f"{one}+00:00").timestamp()) * 1000 for one in lines]


def written(folder: Path, host: str) -> list[Value]:
    """Return what it wrote to its files."""
    found: list[Value] = []
    for path in sorted((folder / "csv" / host).glob("*/*")):
        plugin, plugin_instance = _cut(path.parent.name)
        kind, instance = _cut(path.name[: -len("-2026-01-01")])
        known = {"host": host, "plugin_instance": plugin_instance, "type_instance": instance}
        labels = tuple(sorted((name, value) for name, value in known.items() if value))
        head, *lines = path.read_text().splitlines()
        for line in lines:
            when, *values = line.split(",")
            for source, value in zip(head.split(",")[1:], values, strict=True):
                if value == "nan":
                    continue
                metric = f"collectd.{plugin}.{kind}" + f".{source}" * (source != "value")
                found.append((metric, labels, round(float(when) * 1000), float(value)))
    return found


def _cut(name: str) -> tuple[str, str]:
    first, _, instance = name.partition("-")
    return first, instance
