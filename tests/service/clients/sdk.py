"""OpenTelemetry's SDK with its own exporter, in this process, as an application has it."""

from __future__ import annotations

import importlib
from types import TracebackType
from typing import Any

from aiops.telemetry.dialects import named

Point = tuple[str, tuple[tuple[str, str], ...], int, float]
"""Metric, its own attributes, time in ns and value."""
WANTED = (
    "opentelemetry.sdk.metrics",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "opentelemetry.instrumentation.system_metrics",
)


class Application:
    """Says how the machine is, twice a second, over OTLP/HTTP (protobuf, gzip); a context."""

    def __init__(self, url: str, token: str, device: str) -> None:
        metrics, http, system = map(importlib.import_module, WANTED)
        export = importlib.import_module("opentelemetry.sdk.metrics.export")
        resources = importlib.import_module("opentelemetry.sdk.resources")
        self._ended = False
        told: list[Any] = []
        self._told = told

        class Exporter(http.OTLPMetricExporter):  # type: ignore[misc, name-defined]
            def export(self, metrics_data: Any, *given: Any, **named: Any) -> Any:
                told.append(metrics_data)
                return super().export(metrics_data, *given, **named)

        exporter = Exporter(
            endpoint=f"{url}/v1/metrics",
            headers={"Authorization": f"Bearer {token}"},
            timeout=60,
            compression=http.Compression.Gzip,
        )
        reader = export.PeriodicExportingMetricReader(exporter, 500, 60_000)
        resource = resources.Resource.create({"host.name": device})
        self._provider = metrics.MeterProvider([reader], resource)
        self._instrumentor = system.SystemMetricsInstrumentor()
        self._instrumentor.instrument(meter_provider=self._provider)

    @property
    def turns(self) -> int:
        """How often it has begun to export."""
        return len(self._told)

    def points(self) -> list[Point]:
        """Return all that was exported; a sum that grows is named as Prometheus has it."""
        return [
            (
                _name(metric),
                tuple(sorted(map(_text, point.attributes.items()))),
                point.time_unix_nano,
                float(point.value),
            )
            for data in list(self._told)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in metric.data.data_points
        ]

    def stop(self) -> None:
        """Export once more, and end."""
        if self._ended:
            return
        self._ended = True
        self._instrumentor.uninstrument()
        self._provider.shutdown(60_000)

    def __enter__(self) -> Application:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _text(attribute: tuple[str, Any]) -> tuple[str, str]:
    name, value = attribute
    return name, value if isinstance(value, str) else str(value).lower()


def _name(metric: Any) -> str:
    """Return the name under which a metric is kept, unless somebody knows its own."""
    grows = getattr(metric.data, "is_monotonic", False)
    unknown = not named(metric.name).aliases
    return f"{metric.name}_total" if grows and unknown else metric.name
