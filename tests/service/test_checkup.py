from __future__ import annotations

import os
import time
from pathlib import Path

import apsw
import pytest

from aiops.connectors.durable.log import SegmentedLog
from aiops.engine.ports import LogRecord
from aiops.fleet import checkpoint
from aiops.service import checkup, ledger
from aiops.service.control import Control
from aiops.service.keys import KeyStore
from aiops.service.machine import disk, kernels, packages


def written(folder: Path, n: int = 40, *, seal: bool = True) -> SegmentedLog:
    log = SegmentedLog(folder, segment_bytes=20_000, ballast_bytes=0)
    for i in range(n):
        log.append([LogRecord("telemetry", bytes(1000), i + 1)])
    if seal:
        log.close()
    return log


def everything(folder: Path) -> dict[str, bytes]:
    """What lies there, when it does not move: a log seals its files beside what else is done."""
    while True:
        try:
            names = sorted(path.name for path in folder.iterdir() if path.name != "lock")
            found = {name: (folder / name).read_bytes() for name in names}
        except FileNotFoundError:
            continue
        if names == sorted(path.name for path in folder.iterdir() if path.name != "lock"):
            return found


def test_a_whole_log_is_read_and_left_as_it_is(tmp_path):
    written(tmp_path / "log")
    before = everything(tmp_path / "log")
    look = checkup.log(tmp_path / "log")
    assert (look.state, look.found) == ("ok", "records 1 to 40 are whole")
    assert everything(tmp_path / "log") == before


def test_a_log_that_a_kill_left_open_is_read_and_left_as_it_is(tmp_path):
    log = written(tmp_path / "log", seal=False)
    copy = tmp_path / "copy"
    copy.mkdir()
    for name, content in everything(tmp_path / "log").items():
        (copy / name).write_bytes(content)
    log.close()
    before = everything(copy)
    look = checkup.log(copy)
    assert (look.state, look.found) == ("ok", "records 1 to 40 are whole")
    assert everything(copy) == before


def test_a_log_that_a_service_has_open_is_looked_at_without_opening_it(tmp_path):
    log = written(tmp_path / "log", seal=False)
    look = checkup.log(tmp_path / "log")
    assert look.state == "ok"
    assert "a service has it open" in look.found
    assert log.append([LogRecord("telemetry", b"more", 99)]) == 41
    log.close()


@pytest.mark.parametrize("in_use", [False, True])
def test_rot_in_a_sealed_segment_fails_by_name(tmp_path, in_use):
    log = written(tmp_path / "log", seal=not in_use)
    if in_use:
        log.continue_after(log.last + 1)  # seals the segment it was writing, in its own time
        log.append([LogRecord("telemetry", b"more", 99)])
        log.trim(0)
    rotten = sorted(path for path in (tmp_path / "log").glob("*.sealed"))[0].with_suffix(".db")
    content = bytearray(rotten.read_bytes())
    content[len(content) // 2] ^= 1
    rotten.write_bytes(content)
    look = checkup.log(tmp_path / "log")
    assert look.state == "FAIL"
    assert rotten.name in look.found
    assert "backup" in look.mend
    if in_use:
        log.close()


def test_a_checkpoint_is_readable_or_fails_with_what_mends_it(tmp_path):
    path = tmp_path / "state.npz"
    assert checkup.state(path).state == "ok"
    checkpoint.save(path, {}, {})
    assert checkup.state(path).state == "ok"
    path.write_bytes(path.read_bytes()[:-40])
    look = checkup.state(path)
    assert look.state == "FAIL"
    assert look.mend == f"mv {path} {path}.damaged"


def test_an_audit_that_was_altered_fails_at_the_entry(tmp_path):
    path = tmp_path / "control.db"
    made = Control(path)
    for what in ("halt", "resume", "halt"):
        made.note(1, "op", what, "", "")
    made.close()
    assert checkup.control(path).state == "ok"
    assert checkup.audit(path).state == "ok"
    with apsw.Connection(str(path)) as db:
        db.execute("UPDATE audit SET body = replace(body, 'resume', 'nothing') WHERE seq = 2")
    look = checkup.audit(path)
    assert look.state == "FAIL"
    assert look.found.startswith("entry 2 of 3")


def test_what_an_outlet_said_last_is_shown(tmp_path):
    path = tmp_path / "control.db"
    assert checkup.messages(path).state == "ok"
    Control(path).close()
    assert checkup.messages(path).state == "ok"
    with apsw.Connection(str(path)) as db:
        for id, state, said in (
            ("a", "pending", "DeliveryError: old"),
            ("b", "pending", "DeliveryError: no route\nto host"),
            ("c", "pending", None),
            ("d", "done", None),
        ):
            db.execute(
                "INSERT INTO outbox(outlet, id, kind, created_ns, body, state, error)"
                " VALUES ('pager', ?, 'incident', 1, '{}', ?, ?)",
                (id, state, said),
            )
    look = checkup.messages(path)
    assert look.state == "warn"
    assert look.found.startswith("pager: 3 wait, the oldest since 1970-01-01 00:00 UTC; last: ")
    assert look.found.endswith("DeliveryError: no route to host")


def test_a_database_that_is_none_fails(tmp_path):
    path = tmp_path / "control.db"
    path.write_bytes(b"no database" * 1000)
    looks = [checkup._looked("control", lambda: checkup.control(path))]
    assert looks[0].state == "FAIL"


def test_the_chain_of_an_audit_breaks_where_an_entry_is_gone():
    entries, before = [], ""
    for seq in range(1, 5):
        before = ledger.chained(before, f"b{seq}")
        entries.append((seq, f"b{seq}", before))
    assert ledger.first_broken(entries) is None
    assert ledger.first_broken(entries[:2] + entries[3:]) == 3
    assert ledger.first_broken([*entries[:3], (4, "other", entries[3][2])]) == 4


def test_a_key_that_expires_soon_is_named_with_the_command_for_the_next(tmp_path):
    store = KeyStore(tmp_path / "keys.json")
    assert "none" in checkup.keys(store, time.time()).found
    store.make("hall 1", ["ingest"], ["gw-*"], 3 * 86_400)
    store.make("operator", ["read"])
    look = checkup.keys(store, time.time())
    assert look.state == "warn"
    assert look.found == "1 of 2 expire within 14 days; hall 1 in 3.0 days"
    assert look.mend == (
        f"aiops keys make 'hall 1' --role ingest --device 'gw-*' --data {tmp_path}"
    )


def test_packages_that_are_missing_or_old_are_named():
    asked = [
        "numpy>=2.0",
        'apsw>=3.51.3; extra == "serve"',
        'no-such-thing>=1; extra == "serve"',
        'msgspec>=999; extra == "serve"',
        'polars>=999; extra == "notebook"',
    ]
    look = packages(asked)
    assert look.state == "FAIL"
    assert "no-such-thing is missing" in look.found
    assert "999 is needed" in look.found
    assert "polars" not in look.found
    assert packages(asked[:2]).state == "ok"


def test_kernels_are_counted_where_they_are_kept(tmp_path, monkeypatch):
    monkeypatch.delenv("NUMBA_DISABLE_JIT", raising=False)
    assert "not compiled yet" in kernels(tmp_path).found
    (tmp_path / "a.nbi").touch()
    assert kernels(tmp_path).found.startswith("1 compiled")
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    assert kernels(tmp_path).state == "warn"


def test_a_disk_that_cannot_be_written_fails(tmp_path):
    assert disk(tmp_path).state in ("ok", "warn")
    assert disk(tmp_path / "not-there").state == "FAIL"
    assert os.listdir(tmp_path) == []
