from __future__ import annotations

import errno
import os
import threading
import zlib
from hashlib import blake2b
from pathlib import Path

import pytest

from aiops.connectors.durable import rows
from aiops.connectors.durable.keys import Keys
from aiops.connectors.durable.log import SegmentedLog
from aiops.connectors.durable.segment import PAGE_BYTES, ROWS_MAX
from aiops.engine.ports import DurableLog, LogRecord
from aiops.errors import LogError, LogFull, PayloadError, TooLarge
from tests.connectors.durable.power_cut import InlineLog
from tests.connectors.durable.watched import Watched


def one(body: bytes = b"body", key: str = "", recv_ns: int = 1) -> LogRecord:
    return LogRecord("telemetry", body, recv_ns, "press-7", key)


def small(directory: Path, **settings: int) -> SegmentedLog:
    return InlineLog(directory, **({"segment_bytes": 1_000, "ballast_bytes": 0} | settings))


def test_it_is_a_durable_log(tmp_path: Path) -> None:
    log: DurableLog = SegmentedLog(tmp_path)
    assert log.append([one(), one()]) == 2
    log.close()


def test_its_directory_is_for_its_owner_alone(tmp_path: Path) -> None:
    small(tmp_path / "data" / "log").close()
    assert (tmp_path / "data" / "log").stat().st_mode & 0o777 == 0o700


def test_nobody_else_may_have_it_open(tmp_path: Path) -> None:
    log = small(tmp_path)
    log.append([one()])
    with pytest.raises(LogError, match="open elsewhere"):
        small(tmp_path)
    log.close()
    log.close()
    small(tmp_path).close()


def test_an_empty_append_changes_nothing(tmp_path: Path) -> None:
    log = small(tmp_path)
    assert log.append([]) == 0
    assert (log.last, log.oldest, log.bytes_on_disk, log.newest(1)) == (0, 1, 0, 1)
    assert list(log.read(0)) == []
    log.close()


def test_time_never_falls_even_over_a_restart(tmp_path: Path) -> None:
    log = small(tmp_path)
    log.append([one(recv_ns=5), one(recv_ns=3)])
    log._let_go()
    log = small(tmp_path)
    log.append([one(recv_ns=4), one(recv_ns=9)])
    log.close()
    log = small(tmp_path)
    log.append([one(recv_ns=8)])
    assert [record.recv_ns for _, record in log.read(0)] == [5, 5, 5, 9, 9]
    log.close()


def test_one_record_that_cannot_be_kept_keeps_all_of_its_group_out(tmp_path: Path) -> None:
    log = small(tmp_path)
    with pytest.raises(TooLarge):
        log.append([one(), one(bytes(rows.RECORD_BYTES_MAX + 1))])
    with pytest.raises(PayloadError):
        log.append([one(), one(key="\udc00")])
    with pytest.raises(TooLarge):
        log.append([one()] * (ROWS_MAX + 1))
    assert log.last == 0
    assert log.append([one(bytes(rows.RECORD_BYTES_MAX))]) == 1
    ((_, kept),) = log.read(0)
    assert len(kept.body) == rows.RECORD_BYTES_MAX
    log.close()


def test_it_takes_no_more_than_it_may_until_it_is_trimmed(tmp_path: Path) -> None:
    log = small(tmp_path, retain_bytes=300_000)
    while log.bytes_on_disk < 300_000:
        log.append([one(bytes(500))])
    with pytest.raises(LogFull, match="may take 300000"):
        log.append([one(bytes(500))])
    assert log.bytes_on_disk < 400_000
    last = log.last
    log.trim(log.newest(100_000))
    assert log.bytes_on_disk >= 100_000
    assert log.append([one()]) == last + 1
    assert log.oldest > 1
    log.close()


def test_what_it_says_it_takes_is_what_its_files_take(tmp_path: Path) -> None:
    log = small(tmp_path)
    for _ in range(20):
        log.append([one(bytes(300))])
    taken = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert log.bytes_on_disk == taken
    log.close()


def test_a_find_reads_the_record_and_not_just_the_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("rows", "log"):
        monkeypatch.setattr(f"aiops.connectors.durable.{module}.key_hash", lambda *_: 7)
    log = small(tmp_path)
    log.append([one(b"a", "a"), one(b"b", "b"), one(b"b again", "b"), one(b"none")])
    assert log.find("press-7", "b") == (2, blake2b(b"b", digest_size=16).digest())
    assert log.find("press-7", "c") is None
    assert log.find("press-7", "") is None
    log.close()


def test_keys_are_found_however_many_and_forgotten_when_trimmed() -> None:
    keys = Keys()
    count = 70_000
    for seq in range(1, count + 1):
        keys.add([(seq % 50_000 - 25_000, seq)])
    assert keys.seqs(-24_999) == [1, 50_001]
    assert keys.seqs(count) == []
    keys.forget(50_001)
    assert keys.seqs(-24_999) == [50_001]
    assert keys.seqs(20_000) == []


def test_numbering_goes_on_after_what_somebody_else_knows(tmp_path: Path) -> None:
    log = small(tmp_path)
    log.append([one(b"kept")] * 3)
    log.continue_after(2)
    assert not log.damage
    log.continue_after(10)
    assert [(lost.first_seq, lost.last_seq) for lost in log.damage] == [(4, 10)]
    assert log.append([one(b"new")]) == 11
    log.close()
    log = small(tmp_path)
    assert [seq for seq, _ in log.read(0)] == [1, 2, 3, 11]
    assert [(lost.first_seq, lost.last_seq) for lost in log.damage] == [(4, 10)]
    log.close()


def test_numbering_goes_on_when_the_newest_file_is_gone(tmp_path: Path) -> None:
    log = small(tmp_path)
    for _ in range(9):
        log.append([one(bytes(400))])
    log.close()
    newest = max(tmp_path.glob("*.db"))
    newest.unlink()
    for _ in range(2):
        log = small(tmp_path)
        assert log.last == 9
        assert [(lost.first_seq, lost.last_seq) for lost in log.damage] == [(int(newest.stem), 9)]
        log.close()


def test_a_file_that_vanishes_while_it_is_read_is_counted(tmp_path: Path) -> None:
    log = small(tmp_path, tail_bytes=0)
    for _ in range(9):
        log.append([one(bytes(400))])
    second = sorted(tmp_path.glob("*.db"))[1]
    second.unlink()
    found = [seq for seq, _ in log.read(0)]
    assert found[0] == 1
    assert found[-1] == 9
    (lost,) = log.damage
    assert lost.segment == second.name
    assert len(found) == 9 - (lost.last_seq - lost.first_seq + 1)
    log.close()


def test_numbering_goes_on_when_all_of_it_is_trimmed(tmp_path: Path) -> None:
    log = small(tmp_path)
    for _ in range(9):
        log.append([one(bytes(400))])
        log.trim(log.last + 1)
    assert log.oldest > 6
    log.close()
    log = small(tmp_path)
    log.trim(log.last + 1)
    assert log.append([one()]) == 10
    log.trim(11)
    assert [seq for seq, _ in log.read(0)] == [10]
    log.close()


def test_the_wal_of_a_database_that_was_emptied_is_kept(tmp_path: Path) -> None:
    log = small(tmp_path)
    log.append([one(b"precious")])
    log._let_go()
    (database,) = tmp_path.glob("*.db")
    database.write_bytes(b"")
    log = small(tmp_path)
    (kept,) = tmp_path.glob("*.db-wal.damaged")
    assert b"precious" in kept.read_bytes()
    assert [lost.first_seq for lost in log.damage] == [1]
    assert log.append([one()]) == 1 + ROWS_MAX
    log.close()


def test_files_of_others_in_its_directory_are_let_be(tmp_path: Path) -> None:
    names = ["control.db", "control.db-wal", "notes.sealed", "other.new", "1.db.damaged"]
    for name in names:
        (tmp_path / name).write_bytes(b"mine")
    log = small(tmp_path)
    log.append([one()])
    log.trim(9)
    log.close()
    assert all((tmp_path / name).read_bytes() == b"mine" for name in names)
    assert not log.damage


def test_a_log_that_is_closed_takes_and_gives_nothing(tmp_path: Path) -> None:
    log = small(tmp_path)
    log.append([one()])
    log._let_go()
    with pytest.raises(LogError, match="closed"):
        list(log.read(0))
    log.close()
    with pytest.raises(LogError, match="closed"):
        log.append([one()])
    with pytest.raises(LogError, match="closed"):
        log.trim(1)
    assert not log.damage


def test_a_manifest_that_is_damaged_is_made_again(tmp_path: Path) -> None:
    log = small(tmp_path)
    log.append([one(key="k")])
    log.close()
    (manifest,) = tmp_path.glob("*.sealed")
    good = manifest.read_bytes()
    manifest.write_bytes(good.replace(b"1", b"2"))
    log = small(tmp_path)
    assert log.find("press-7", "k") is not None
    assert log.last == 1
    assert not log.verify()
    log.close()
    assert manifest.read_bytes() == good


def test_a_log_of_a_later_format_is_refused_and_let_be(tmp_path: Path) -> None:
    log = small(tmp_path)
    log.append([one()])
    log.close()
    (manifest,) = tmp_path.glob("*.sealed")
    text = manifest.read_bytes()[9:-1].replace(b'"format": 1', b'"format": 2')
    later = b"%08x %s\n" % (zlib.crc32(text), text)
    manifest.write_bytes(later)
    for _ in range(2):
        with pytest.raises(LogError, match="has format 2"):
            small(tmp_path)
    assert manifest.read_bytes() == later


@pytest.mark.parametrize(("size", "counted"), [(24, False), (24 + PAGE_BYTES, True)])
def test_a_write_that_stops_is_no_damage_and_one_that_is_torn_may_be(
    tmp_path: Path, size: int, counted: bool
) -> None:
    log = small(tmp_path)
    log.append([one()])
    log._let_go()
    (wal,) = tmp_path.glob("*.db-wal")
    with wal.open("ab") as file:
        file.write(b"\1" * size)
    log = small(tmp_path)
    assert [seq for seq, _ in log.read(0)] == [1]
    assert [lost.first_seq for lost in log.damage] == [2] * counted
    # A number that may have been given out is not given out again.
    assert log.append([one()]) == (1 + ROWS_MAX if counted else 2)
    log.close()


class Unreadable(Watched):
    """Reads of one file fail."""

    name = ""

    def before(self, kind: str, name: str) -> None:
        if kind == "read" and name == self.name:
            raise OSError(errno.EIO, "made to fail")


def test_a_sector_that_cannot_be_read_costs_its_segment_only(tmp_path: Path) -> None:
    files = Unreadable()
    log = InlineLog(tmp_path, segment_bytes=1_000, ballast_bytes=0, tail_bytes=0, files=files)
    for _ in range(9):
        log.append([one(bytes(400))])
    files.name = sorted(tmp_path.glob("*.db"))[1].name
    found = [seq for seq, _ in log.read(0)]
    assert {lost.segment for lost in log.damage} == {files.name}
    assert len(found) == 7
    assert found[-1] == 9
    log.close()


class FlushesFail(Watched):
    failing = False

    def before(self, kind: str, name: str) -> None:
        if self.failing and kind == "sync":
            raise OSError(errno.EIO, "made to fail")


def test_after_a_failed_flush_nothing_is_acknowledged_though_flushes_work_again(
    tmp_path: Path,
) -> None:
    files = FlushesFail()
    log = SegmentedLog(tmp_path, ballast_bytes=0, files=files)
    log.append([one(b"before")])
    files.failing = True
    with pytest.raises(LogError, match="takes nothing more"):
        log.append([one(b"lost")])
    files.failing = False
    with pytest.raises(LogError, match="takes nothing more"):
        log.append([one(b"after")])
    with pytest.raises(LogError):
        log.trim(1)
    assert [record.body for _, record in log.read(0)] == [b"before"]
    log.close()
    log = SegmentedLog(tmp_path, ballast_bytes=0)
    assert next(log.read(0))[1].body == b"before"
    log.close()


def test_reading_goes_on_beside_appending_sealing_and_trimming(tmp_path: Path) -> None:
    log = SegmentedLog(tmp_path, segment_bytes=40_000, ballast_bytes=0)
    wrong: list[str] = []
    done = threading.Event()

    def follow() -> None:
        after = 0
        while not (done.is_set() and after == log.last):
            for seq, record in log.read(after):
                if seq != after + 1 or record.body != b"%d" % seq * 200:
                    wrong.append(f"{seq} after {after}")
                after = seq
                reached[0] = seq

    reached = [0]
    thread = threading.Thread(target=follow)
    thread.start()
    for _ in range(150):
        seqs = range(log.last + 1, log.last + 4)
        log.append([one(b"%d" % seq * 200, f"{seq}") for seq in seqs])
        log.trim(reached[0])
    done.set()
    thread.join(30)
    assert not thread.is_alive()
    assert not wrong
    assert not log.damage
    assert log.oldest > 1
    log.close()


def test_a_name_is_flushed_with_what_has_it(tmp_path: Path) -> None:
    # That a file can be opened by its path is not enough: a new directory has to last as well.
    synced: list[Path] = []

    class Noted(Watched):
        def sync(self, directory: Path) -> None:
            synced.append(directory)

    InlineLog(tmp_path / "log", ballast_bytes=0, files=Noted()).close()
    assert tmp_path in synced
    assert os.path.isdir(tmp_path / "log")
