from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.connectors.wire.packing import as_streams, pack, unpack

NAMES = st.lists(st.sampled_from(["gw-1", "gw-2", "äöü", "", "x" * 300]) | st.none(), max_size=20)


def frame(names: list[str | None], *, text: bool) -> pa.Table:
    n = len(names)
    columns = {
        "device_id": pa.array(names, pa.string()).dictionary_encode(),
        "value": pa.array(np.arange(n) / 3),
        "site": pa.array(names, pa.dictionary(pa.int16(), pa.large_string())),
    }
    if text:
        columns["word"] = pa.array(names, pa.string())
    return pa.table(columns)


@given(st.lists(st.tuples(NAMES, st.booleans()), max_size=4))
def test_frames_come_back_as_they_were(told: list[tuple[list[str | None], bool]]) -> None:
    tables = [frame(names, text=text) for names, text in told]
    body = pack(tables)
    assert [one.to_pylist() for one in unpack(body)] == [one.to_pylist() for one in tables]
    assert [one.schema for one in unpack(body)] == [one.schema for one in tables]
    assert pack(unpack(body)) == body


@given(NAMES, st.booleans())
def test_each_frame_is_an_arrow_stream_for_other_readers(
    names: list[str | None], text: bool
) -> None:
    table = frame(names, text=text)
    (stream,) = as_streams(pack([table]))
    assert pa.ipc.open_stream(stream).read_all().to_pylist() == table.to_pylist()


def test_a_stream_that_somebody_sent_is_read_as_it_is() -> None:
    table, sink = frame(["a", "b"], text=True), pa.BufferOutputStream()
    for _ in range(2):
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
    assert unpack(sink.getvalue().to_pybytes()) == [table, table]


def test_names_that_come_again_are_written_small() -> None:
    labels = [f'{{"job":"edge","instance":"gw-{i}:9100","region":"eu-west"}}' for i in range(1000)]
    table = pa.table({"labels": pa.array(labels).dictionary_encode()})
    assert len(pack([table])) < table.nbytes / 4


def test_frames_of_one_shape_share_their_names() -> None:
    one, two = (unpack(pack([frame(["gw-1", "gw-2"], text=False)]))[0] for _ in range(2))
    first, second = (t["device_id"].chunk(0).dictionary.buffers()[2].address for t in (one, two))
    assert first == second


def test_no_name_and_an_empty_name_are_written_apart_whichever_came_first() -> None:
    for names in (["a", ""], ["a", None], ["a", ""]):
        entries = pa.array(names, pa.string())
        table = pa.table({"x": pa.DictionaryArray.from_arrays(pa.array([0, 1]), entries)})
        assert unpack(pack([table]))[0]["x"].to_pylist() == names


def test_a_body_that_is_none_is_an_error_and_no_frame() -> None:
    with pytest.raises(pa.ArrowInvalid):
        unpack(b"nothing of the kind")
