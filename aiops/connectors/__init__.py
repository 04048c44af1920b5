"""Where telemetry comes from and where results go: one file, and one line here, each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aiops.connectors.arrow_stream import ArrowStreamSource
from aiops.connectors.files import FilesSource
from aiops.connectors.jsonl import JsonlSink
from aiops.connectors.memory import MemorySink, MemorySource
from aiops.connectors.ndjson import NdjsonSource
from aiops.connectors.smartctl import SmartctlSource
from aiops.connectors.warehouse import WarehouseSink
from aiops.engine.ports import Sink, Source

SOURCES: Mapping[str, Callable[..., Source]] = {
    "arrow": ArrowStreamSource,
    "files": FilesSource,
    "memory": MemorySource,
    "ndjson": NdjsonSource,
    "smartctl": SmartctlSource,
}

SINKS: Mapping[str, Callable[..., Sink]] = {
    "jsonl": JsonlSink,
    "memory": MemorySink,
    "warehouse": WarehouseSink,
}
