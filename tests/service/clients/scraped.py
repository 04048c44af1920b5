"""What scrapes and writes on: Prometheus 2, Prometheus 3 and vmagent, over one node exporter.

Between the exporter and each of them stands a `Target`, which numbers the scrapes and keeps what it
handed out: so it is known what the client has, to the last sample.
"""

from __future__ import annotations

import math
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.service.clients.programs import PROMETHEUS_3, Program, free_port, path_of

NUMBER = "target_scrapes_total"
OWN = frozenset({"up"})
"""Series that a scraper makes up itself; likewise what begins with ``scrape_``."""
Sample = tuple[str, tuple[tuple[str, str], ...]]
"""Metric and labels, sorted."""


class Exporter(Program):
    """Debian's node exporter, with the collectors it has by default."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}/metrics"
        path = path_of("prometheus-node-exporter")
        super().__init__(
            folder, path, f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"
        )

    def ready(self) -> bool:
        """Say whether it answers."""
        assert self.runs
        try:
            with urllib.request.urlopen(self.url, timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


class Target:
    """Hands out what an exporter says, with the number of the scrape; a context."""

    def __init__(self, exporter_url: str) -> None:
        self.served: list[bytes] = []
        self.ended = False
        """Set: the exporter is gone, and every further scrape fails."""
        self._exporter_url = exporter_url
        outer = self

        class Answer(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer._answer(self)

            def log_message(self, *said: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self._lock = threading.Lock()

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def turns(self) -> int:
        """How often it was scraped."""
        return len(self.served)

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        with self._lock:
            if self.ended:
                request.send_error(503)
                return
            with urllib.request.urlopen(self._exporter_url, timeout=5) as answer:
                body = answer.read() + f"{NUMBER} {len(self.served) + 1}\n".encode()
            self.served.append(body)
        request.send_response(200)
        request.send_header("Content-Type", "text/plain; version=0.0.4")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def end(self) -> None:
        """Let every further scrape fail."""
        with self._lock:
            self.ended = True

    def samples(self, number: int, **labels: str) -> dict[Sample, float | None]:
        """Return what it said at a scrape, from 1, as the API tells it; NaN is None."""
        found: dict[Sample, float | None] = {}
        for family in text_string_to_metric_families(self.served[number - 1].decode()):
            for one in family.samples:
                sample = one.name, spelt(one.labels | labels)
                found[sample] = None if math.isnan(one.value) else one.value
        return found

    def __enter__(self) -> Target:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()


def is_own(row: dict[str, Any]) -> bool:
    """Say whether a reading is one that the scraper makes up itself."""
    return row["metric"] in OWN or row["metric"].startswith("scrape_")


def sample_of(row: dict[str, Any]) -> Sample:
    """Return metric and labels of a reading of the API."""
    return row["metric"], spelt(row["labels"])


def spelt(labels: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """Return labels as all of them have it: an empty one is none, and the quantile 0 is 0.0."""
    numbers = ("le", "quantile")
    told = {k: str(float(v)) if k in numbers else v for k, v in labels.items() if v}
    return tuple(sorted(told.items()))


def _scrape(device: str, address: str) -> str:
    return f"""
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
- job_name: node
  static_configs:
  - targets: ["{address}"]
    labels: {{instance: "{device}"}}
"""


def _agent(folder: Path, path: str, told: str, *flags: str) -> Program:
    folder.mkdir(parents=True)
    config = folder / "prometheus.yml"
    config.write_text(told)
    return Program(
        folder,
        path,
        *flags,
        f"--config.file={config}",
        f"--storage.agent.path={folder / 'wal'}",
        f"--web.listen-address=127.0.0.1:{free_port()}",
    )


def prometheus_2(folder: Path, url: str, token: str, device: str, address: str) -> Program:
    """Run Debian's Prometheus as an agent: remote write 1.0, the token as a bearer's."""
    path = path_of("prometheus")
    secret = folder.parent / f"{folder.name}.token"
    secret.write_text(token)
    told = f"""{_scrape(device, address)}
remote_write:
- url: {url}/api/v1/write
  authorization: {{credentials_file: "{secret}"}}
  queue_config: {{batch_send_deadline: 500ms, max_backoff: 1s}}
"""
    return _agent(folder, path, told, "--enable-feature=agent")


def prometheus_3(folder: Path, url: str, token: str, device: str, address: str) -> Program:
    """Run Prometheus 3 as an agent: remote write 2.0, the token as a password."""
    path = path_of(PROMETHEUS_3)
    told = f"""{_scrape(device, address)}
remote_write:
- url: {url}/api/v1/write
  protobuf_message: io.prometheus.write.v2.Request
  basic_auth: {{username: {device}, password: "{token}"}}
  queue_config: {{batch_send_deadline: 500ms, max_backoff: 1s}}
"""
    return _agent(folder, path, told, "--agent")


def vmagent(folder: Path, url: str, token: str, device: str, address: str) -> Program:
    """Run vmagent: remote write 1.0 out of a queue on disk, the token as a password."""
    path = path_of("vmagent")
    folder.mkdir(parents=True)
    config = folder / "scrape.yml"
    config.write_text(_scrape(device, address))
    return Program(
        folder,
        path,
        f"-promscrape.config={config}",
        f"-httpListenAddr=127.0.0.1:{free_port()}",
        f"-remoteWrite.url={url}/api/v1/write",
        f"-remoteWrite.tmpDataPath={folder / 'queue'}",
        f"-remoteWrite.basicAuth.username={device}",
        f"-remoteWrite.basicAuth.password={token}",
    )
