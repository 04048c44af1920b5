"""InfluxDB 1.6, which hands on to its subscribers what is written to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from tests.service.clients.programs import Program, free_port, path_of


class Influx(Program):
    """influxd with a database ``fleet``."""

    def __init__(self, folder: Path) -> None:
        path = path_of("influxd")
        folder.mkdir(parents=True)
        port = free_port()
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10)
        config = folder / "influxdb.conf"
        config.write_text(f"""reporting-disabled = true
bind-address = "127.0.0.1:{free_port()}"
[meta]
dir = "{folder / "meta"}"
[data]
dir = "{folder / "data"}"
wal-dir = "{folder / "wal"}"
[monitor]
store-enabled = false
[http]
bind-address = "127.0.0.1:{port}"
log-enabled = false
[subscriber]
enabled = true
""")
        super().__init__(folder, path, "-config", str(config))

    def ready(self) -> bool:
        """Say whether it answers."""
        assert self.runs
        try:
            return self.client.get("/ping").status_code == 204
        except httpx.TransportError:
            return False

    def subscribe(self, url: str, user: str, token: str) -> None:
        """Hand on all that is written to the service; the token goes in the address."""
        self.ask("CREATE DATABASE fleet", "POST")
        to = url.replace("http://", f"http://{user}:{token}@")
        self.ask(f"CREATE SUBSCRIPTION s ON fleet.autogen DESTINATIONS ALL '{to}'", "POST")

    def write(self, *lines: str) -> None:
        """Write lines in one request."""
        answer = self.client.post("/write", params={"db": "fleet"}, content="\n".join(lines))
        assert answer.status_code == 204, answer.text

    def ask(self, query: str, method: str = "GET") -> list[dict[str, Any]]:
        """Return the series of an answer."""
        asked = {"db": "fleet", "epoch": "ns", "q": query}
        answer = self.client.request(method, "/query", params=asked)
        (result,) = answer.raise_for_status().json()["results"]
        assert "error" not in result, result
        series: list[dict[str, Any]] = result.get("series", [])
        return series

    def points(self) -> list[tuple[str, tuple[tuple[str, str], ...], int, float]]:
        """Return all points it has: measurement_field, tags, ns and value."""
        return [
            (f"{one['name']}_{field}", tuple(sorted(one["tags"].items())), row[0], value)
            for one in self.ask("SELECT * FROM /.*/ GROUP BY *")
            for row in one["values"]
            for field, value in zip(one["columns"][1:], row[1:], strict=True)
            if value is not None
        ]

    def stop(self) -> None:
        """Stop it."""
        self.client.close()
        super().stop()
