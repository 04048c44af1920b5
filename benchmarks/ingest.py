"""Durable ingest by each protocol, beside the same server without a log, and beside peers.

Requests are rendered first and sent over eight connections that stay open; client and server share
the machine's cores, for all contenders alike. A rate is the median of three rounds; contenders take
turns, each in a process of its own. Ours acknowledges what is fsynced and judges it meanwhile;
VictoriaMetrics flushes every few seconds and Prometheus does not fsync its log at each request.
Figures with `_unwatched` are of a service that watches no metric for what is normal, as stores do.

Latency to a finding: 100,000 devices send 16 metrics each second (Arrow, 1,000 a request); every
second one device reports failing storage. Epochs are a second, and wait for nobody. Counted is from
when the request that lets the epoch close leaves until the finding arrives on the event stream;
beside it, the whole time since the faulty row left, of which an epoch is up to a second.

Overload: OTLP at ten times what the server takes in a closed loop, as an open loop. Lost: of
acknowledged requests, those that are not in the log after kill -9 in the middle of load.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks._ingest_payloads import FAULT, SECOND, arrow_table, counted, requests
from benchmarks._ingest_servers import Ours, Prometheus, Server, VictoriaMetrics, installed
from benchmarks._load import Outcome, rendered, run

CONNECTIONS = 8
ROUNDS = 3
FLEET = 100_000


def rate(server: Server, protocol: str, sent: list[bytes], connections: int) -> tuple[float, float]:
    """Send all requests; return what was counted a second, and a second of the server's CPU."""
    before = server.cpu_s()
    found = run(
        server.port,
        lambda n: sent[n],
        connections=connections,
        requests=len(sent),
        again_s=0.02,
    )
    if found.failed or found.accepted < len(sent):
        raise RuntimeError(f"{protocol}: {dict(found.statuses)}, {found.failed} failed")
    total = counted(protocol) * found.accepted
    return total / found.took_s, total / (server.cpu_s() - before)


def protocol_rates(protocol: str, n: int, quick: bool) -> dict[str, float]:
    """Measure a protocol on our server with and without its log, in turns."""
    # What is under way is bounded; more connections than that would only be told to wait.
    connections = 3 if protocol == "arrow" else CONNECTIONS
    rates: dict[str, list[float]] = {"durable": [], "volatile": [], "unwatched": [], "cpu": []}
    with Ours() as durable, Ours(volatile=True) as volatile, Ours(watch=False) as unwatched:
        servers = {"durable": durable, "volatile": volatile, "unwatched": unwatched}
        begin_ns = time.time_ns() - 600 * SECOND
        for turn in range(ROUNDS + 1):
            for name, server in servers.items():
                sent = requests(protocol, n, begin_ns, devices=FLEET // 16, headers=server.headers)
                reached, per_cpu = rate(server, protocol, sent, connections)
                server.wait_judged()
                if turn:  # the first warms up
                    rates[name].append(reached)
                    if name == "durable":
                        rates["cpu"].append(per_cpu)
            begin_ns += 100 * SECOND
    return {name: statistics.median(found) for name, found in rates.items()}


def beside_peers(n: int) -> dict[str, float]:
    """Send the same remote-write requests to ours and to the peers, in turns."""
    makers: dict[str, Callable[[], Server]] = {
        "ours": Ours,
        "unwatched": lambda: Ours(watch=False),
    }
    if installed("victoria-metrics"):
        makers["victoriametrics"] = VictoriaMetrics
    if installed("prometheus"):
        makers["prometheus"] = Prometheus
    servers = {name: make() for name, make in makers.items()}
    rates: dict[str, list[float]] = {name: [] for name in servers}
    cpu: dict[str, list[float]] = {name: [] for name in servers}
    try:
        begin_ns = time.time_ns() - 600 * SECOND
        for turn in range(ROUNDS + 1):
            bare = requests("remote_write", n, begin_ns, devices=FLEET // 16)
            begin_ns += 100 * SECOND
            for name, server in servers.items():
                token = "".join(f"{k}: {v}\r\n" for k, v in server.headers.items()).encode()
                sent = [one.replace(b"\r\n", b"\r\n" + token, 1) for one in bare]
                reached, per_cpu = rate(server, "remote_write", sent, CONNECTIONS)
                if isinstance(server, Ours):
                    server.wait_judged()
                if turn:
                    rates[name].append(reached)
                    cpu[name].append(per_cpu)
    finally:
        for server in servers.values():
            server.__exit__(None, None, None)
    found = {
        "remote_write_samples_per_s": statistics.median(rates["ours"]),
        "remote_write_samples_per_s_unwatched": statistics.median(rates["unwatched"]),
    }
    for name in ("victoriametrics", "prometheus"):
        if name in servers:
            found[f"{name}_samples_per_s"] = statistics.median(rates[name])
            found[f"ratio_{name}"] = statistics.median(
                a / b for a, b in zip(rates["ours"], rates[name], strict=True)
            )
            found[f"ratio_{name}_unwatched"] = statistics.median(
                a / b for a, b in zip(rates["unwatched"], rates[name], strict=True)
            )
            found[f"cpu_ratio_{name}"] = statistics.median(
                a / b for a, b in zip(cpu["ours"], cpu[name], strict=True)
            )
        else:
            print(f"{name} is not installed: its ratio is left out")
    return found


def findings(seconds: int, devices: int) -> dict[str, float]:
    """Measure how soon a fault becomes a finding while the whole fleet reports each second."""
    block = 1000
    blocks = devices // block
    with Ours(epoch_s=1) as server:
        arrived: dict[str, float] = {}
        streaming = threading.Event()
        reader = threading.Thread(target=_listen, args=(server, arrived, streaming), daemon=True)
        reader.start()
        streaming.wait(30)
        left: dict[str, float] = {}
        opened: list[tuple[int, float]] = []
        headers = server.headers | {"Content_Type": "application/vnd.apache.arrow.stream"}
        begun = time.perf_counter() + 0.2
        lag = begun - time.perf_counter()
        begin_ns = time.time_ns() + int(lag * 1e9)

        def make(n: int) -> bytes:
            step, place = divmod(n, blocks)
            device = np.arange(place * block, (place + 1) * block)
            # The time of a row is that at which it is due: the clocks are one.
            ts_ns = begin_ns + int(n / blocks * 1e9)
            table = arrow_table(device, ts_ns, step)
            if place == (step * 37) % blocks:
                sick = (step * 7) % block
                column = table.schema.get_field_index(FAULT)
                told = table.column(column).to_numpy().copy()
                told[sick] = 1.0
                table = table.set_column(column, FAULT, [told])
                left[f"gw-{device[sick]:06d}"] = time.perf_counter()
            opened.append((ts_ns // SECOND, time.perf_counter()))
            sink = _stream(table)
            return rendered("/v1/telemetry", sink, "aiops", **headers)

        outcome = run(
            server.port, make, connections=4, requests=seconds * blocks, per_s=float(blocks)
        )
        time.sleep(2.0)
        cpu = server.cpu_s() / outcome.took_s
        rss = server.rss_mib()
    first: dict[int, float] = {}
    for epoch, at in opened:
        first[epoch] = min(first.get(epoch, at), at)
    of_fault = {device: at for device, at in left.items() if device in arrived}
    total = [arrived[device] - at for device, at in of_fault.items()]
    closing = []
    for device, at in of_fault.items():
        later = [when for when in first.values() if when > at]
        if later:
            closing.append(arrived[device] - min(later))
    missing = len(left) - len(of_fault)
    print(
        f"findings: {len(of_fault)} of {len(left)} arrived; server {cpu:.2f} cores, {rss:.0f} MiB;"
        f" requests {_shown(outcome)}"
    )
    return {
        "finding_p50_s": float(np.quantile(closing, 0.5)),
        "finding_p99_s": float(np.quantile(closing, 0.99)),
        "finding_total_p99_s": float(np.quantile(total, 0.99)),
        "findings_missing": float(missing),
        "fleet_request_p99_s": outcome.quantile_s(0.99),
        "fleet_cores": cpu,
        "fleet_rss_mib": rss,
    }


def _stream(table: Any) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def _listen(server: Ours, arrived: dict[str, float], streaming: threading.Event) -> None:
    """Note when the finding of each device arrives."""
    url = f"http://127.0.0.1:{server.port}/v1/events?after=0"
    with httpx.stream("GET", url, headers=server.headers, timeout=None) as stream:
        streaming.set()
        kind = ""
        try:
            for line in stream.iter_lines():
                if line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                elif line.startswith("data: ") and kind == "findings":
                    record = json.loads(line.removeprefix("data: "))
                    arrived.setdefault(record["device_id"], time.perf_counter())
        except httpx.HTTPError:
            return


def overload(seconds: float) -> dict[str, float]:
    """Offer ten times what is taken in a closed loop."""
    with Ours(backlog=256 << 20) as server:
        begin_ns = time.time_ns() - 600 * SECOND
        sent = requests("otlp", 400, begin_ns, devices=25_000, headers=server.headers)
        turns = count()

        def make(n: int) -> bytes:
            # A key of its own: the same payload sent again would not be taken again.
            key = f"\r\nIdempotency-Key: {next(turns)}\r\n".encode()
            return sent[n % 400].replace(b"\r\n", key, 1)

        run(server.port, make, connections=4, seconds=2)
        closed = run(server.port, make, connections=4, seconds=4)
        capacity = closed.accepted / closed.took_s
        before = server.rss_mib()
        flood = run(
            server.port,
            make,
            connections=64,
            seconds=seconds,
            per_s=10 * capacity,
        )
        most = server.rss_mib()
        begun = time.perf_counter()
        while True:
            calm = run(server.port, make, connections=1, requests=20)
            if calm.accepted == 20 and calm.quantile_s(0.99) < 0.5:
                break
        recovered = time.perf_counter() - begun
        wrong = sum(n for code, n in flood.statuses.items() if code >= 300 and code != 429)
    print(f"overload: capacity {capacity:.0f}/s; {_shown(flood)}; {before:.0f} to {most:.0f} MiB")
    return {
        "overload_offered_ratio": sum(flood.statuses.values()) / flood.took_s / capacity,
        "overload_p99_s": flood.quantile_s(0.99),
        "overload_goodput_ratio": flood.accepted / flood.took_s / capacity,
        "overload_wrong": float(wrong + flood.failed),
        "overload_rss_growth_mib": most - before,
        "overload_recovery_s": recovered,
    }


def _shown(outcome: Outcome) -> str:
    return f"{dict(outcome.statuses)}, p99 {outcome.quantile_s(0.99) * 1e3:.0f} ms"


def lost(kills: int) -> dict[str, float]:
    """Kill the server under load again and again; count what was acknowledged and is not there."""
    acknowledged: set[str] = set()
    with Ours() as server:
        for cycle in range(kills):
            sent = requests(
                "arrow",
                200,
                time.time_ns() - 60 * SECOND,
                devices=4000,
                headers=server.headers,
                block=200,
            )
            keyed = [
                one.replace(b"\r\n", f"\r\nIdempotency-Key: k{cycle}-{n}\r\n".encode(), 1)
                for n, one in enumerate(sent)
            ]
            timer = threading.Timer(0.3 + 0.1 * (cycle % 5), server.kill)
            timer.start()
            outcome = run(
                server.port, lambda n, keyed=keyed: keyed[n], connections=4, requests=len(keyed)
            )
            timer.join()
            acknowledged |= {
                f"k{cycle}-{n}" for n, status in outcome.answers.items() if status == 200
            }
            server.start()
        server.stop()
        from aiops.connectors.durable.log import SegmentedLog

        log = SegmentedLog(server.data / "data" / "log")
        there = {record.key for _, record in log.read(0)}
        log.close()
    print(f"lost: {len(acknowledged - there)} of {len(acknowledged)} acknowledged, {kills} kills")
    return {"lost": float(len(acknowledged - there)), "acknowledged": float(len(acknowledged))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="nothing here is random")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", help="rates, peers, findings, overload or lost")
    given = parser.parse_args()
    quick = given.quick
    found: dict[str, float] = {}
    if given.only in (None, "rates"):
        for protocol, name, n in (
            ("arrow", "arrow_rows_per_s", 120 if quick else 240),
            ("ndjson", "ndjson_rows_per_s", 60 if quick else 100),
            ("otlp", "otlp_points_per_s", 60 if quick else 100),
            ("influx", "influx_points_per_s", 40 if quick else 80),
        ):
            rates = protocol_rates(protocol, n, quick)
            found[name] = rates["durable"]
            found[name.replace("_per_s", "_per_cpu_s")] = rates["cpu"]
            found[f"{protocol}_durable_over_volatile"] = rates["durable"] / rates["volatile"]
            found[name.replace("_per_s", "_per_s_unwatched")] = rates["unwatched"]
            print(f"{protocol}: { ({k: round(v) for k, v in rates.items()}) }", flush=True)
        found["durable_over_volatile"] = found["arrow_durable_over_volatile"]
    if given.only in (None, "peers"):
        found |= beside_peers(150 if quick else 400)
        print({k: round(v, 2) for k, v in found.items()}, flush=True)
    if given.only in (None, "findings"):
        found |= findings(8 if quick else 60, FLEET // 10 if quick else FLEET)
    if given.only in (None, "overload"):
        found |= overload(5.0 if quick else 60.0)
    if given.only in (None, "lost"):
        found |= lost(3 if quick else 20)
    for name, value in found.items():
        print(f"{name:36} {value:14.4g}")
    if given.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
