"""The service's own figures, as Prometheus reads them."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from aiops.service.service import Service
from aiops.telemetry.aside import REASONS


class ServiceCollector(Collector):
    """Reads the figures when it is asked: nothing is counted twice."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def describe(self) -> Iterator[Metric]:
        """Say nothing in advance, so that nothing is read twice."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Yield all figures."""
        service = self._service
        log, judge, control = service.log, service.judge, service.control
        gauges = {
            "ready": ("1 once the state is restored and kernels are warm", not service.ready),
            "uptime_seconds": ("Since the start", time.monotonic() - service.started_s),
            "log_last_seq": ("Number of the newest record", log.last),
            "log_judged_seq": ("Number of the last record that was judged", judge.seq),
            "log_bytes": ("The log on disk", log.bytes_on_disk),
            "log_queued_bytes": ("Waiting to be written", service.commit.queued_bytes),
            "log_damaged": ("Stretches of the log that cannot be read", len(log.damage)),
            "checkpoint_age_seconds": ("Since the engine's state was saved", service.unsaved_s),
            "disk_free_bytes": ("Room on the disk", service.free_bytes),
            "ingest_under_way_bytes": ("Being taken", service.admission.under_way_bytes),
            "ingest_limit": ("Payloads that may be under way", service.admission.limit),
            "devices_active": ("Heard since the start", service.intake.devices),
            "series_active": ("Heard since the start", service.intake.series),
            "event_streams": ("Open", service.streams),
            "halted": ("1 while no action leaves", service.halted()),
            "resident_memory_bytes": ("Memory held", service.memory_bytes),
            "resident_memory_max_bytes": (
                "Most memory held since the start",
                resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            ),
        }
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(f"aiops_{name}", text, float(value))
        taken = CounterMetricFamily("aiops_ingest_rows", "Rows taken", labels=["protocol"])
        for protocol, n in service.arrivals.rows.items():
            taken.add_metric([protocol], n)
        yield taken
        refused = CounterMetricFamily("aiops_ingest_refused", "Rows refused", labels=["reason"])
        for reason, n in service.intake.counts.items():
            refused.add_metric([reason], n)
        yield refused
        brokers = GaugeMetricFamily(
            "aiops_mqtt_connected", "1 while a broker is reached and lets us", labels=["broker"]
        )
        for broker, connected in service.brokers.items():
            brokers.add_metric([broker], float(connected.is_set()))
        yield brokers
        errors = CounterMetricFamily(
            "aiops_http_errors", "Requests answered with an error", labels=["route", "status"]
        )
        for (route, status), n in service.errors.copy().items():
            errors.add_metric([route, str(status)], n)
        yield errors
        aside = CounterMetricFamily("aiops_set_aside", "Set aside by the engine", labels=["reason"])
        for reason, n in dict(judge.engine.fleet.counts).items():
            if reason in REASONS:  # rows, and those that came late, are counted there too
                aside.add_metric([reason], n)
        yield aside
        fired = CounterMetricFamily("aiops_alarms", "Findings that fired", labels=["detector"])
        rate = GaugeMetricFamily(
            "aiops_alarms_per_1000_device_months",
            "Findings that fired, true or false, since the engine's state began",
            labels=["detector"],
        )
        allowed = GaugeMetricFamily(
            "aiops_alarm_budget_per_1000_device_months",
            "False alarms that the budget allows",
            labels=["detector"],
        )
        for one in judge.engine.realised():
            if one.detector != "total":  # a sum of labels is the reader's
                fired.add_metric([one.detector], one.fired)
            rate.add_metric([one.detector], one.per_1000_device_months)
            allowed.add_metric([one.detector], one.alarm_budget)
        yield fired
        yield rate
        yield allowed
        counts = control.counts()
        firing = GaugeMetricFamily("aiops_firing", "Open", labels=["kind", "severity"])
        for (kind, severity), n in counts["firing"].items():
            firing.add_metric([kind, severity], n)
        yield firing
        outbox = GaugeMetricFamily("aiops_outbox", "Messages", labels=["outlet", "state"])
        for (outlet, state), n in counts["outbox"].items():
            outbox.add_metric([outlet, state], n)
        yield outbox
        oldest = GaugeMetricFamily(
            "aiops_outbox_oldest_seconds", "Age of the oldest that waits", labels=["outlet"]
        )
        for outlet in service.dispatcher.standings():
            waiting = control.pending(outlet, 1)
            age_s = (service.now_ns() - waiting[0].created_ns) / 1e9 if waiting else 0.0
            oldest.add_metric([outlet], max(0.0, age_s))
        yield oldest
