"""The front door: any frame of any library, by the Arrow PyCapsule protocol."""

from __future__ import annotations

from typing import Any, Protocol

import pyarrow as pa

from aiops.errors import FrameError


class ArrowStream(Protocol):
    """Whatever can hand over its columns as Arrow: pandas, polars, DuckDB, pyarrow and others.

    See the Arrow PyCapsule interface; https://arrow.apache.org/docs/format/CDataInterface.
    """

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return a capsule of an ArrowArrayStream."""


def read_frame(frame: ArrowStream | Any) -> pa.Table:
    """Return a frame as an Arrow table, without copying where its library allows.

    Raises
    ------
    FrameError
        It does not speak the protocol, or is a single column rather than a frame.
    """
    if not hasattr(frame, "__arrow_c_stream__"):
        lazy = " (call .collect() first)" if hasattr(frame, "collect") else ""
        raise FrameError(
            f"a frame was expected, {type(frame).__module__}.{type(frame).__qualname__} came, "
            f"which has no __arrow_c_stream__{lazy}; pandas, polars and pyarrow frames and DuckDB "
            f"relations have it, and pyarrow.Table.from_pylist makes one of a list of dictionaries"
        )
    try:
        return pa.RecordBatchReader.from_stream(frame).read_all()
    except pa.ArrowTypeError as cause:
        raise FrameError(
            f"a column holds values of several types ({'; '.join(map(str, cause.args))}); give it "
            f"one type, e.g. frame.astype({{'column': str}})"
        ) from cause
    except pa.ArrowInvalid as cause:
        raise FrameError(
            f"a frame was expected, {type(frame).__module__}.{type(frame).__qualname__} gave a "
            f"stream that is no table ({cause}); pass the whole frame, not one of its columns"
        ) from cause
