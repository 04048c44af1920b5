from __future__ import annotations

from pathlib import Path

import pytest

from aiops.connectors.durable.checks import (
    examine,
    file_system,
    flush_taken,
    owner,
    room,
    sqlite_version,
)

MOUNTS = r"""
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
23 22 0:5 / /net rw - nfs4 server:/ rw
24 22 0:6 / /net/local rw - xfs /dev/vdb rw
25 22 0:7 / /with\040space rw - tmpfs tmpfs rw
26 22 0:8 / /over rw - ext4 /dev/vdc rw
27 22 0:9 / /over rw - overlay overlay rw
28 22 0:9 / /ssh rw - fuse.sshfs host:/ rw
""".strip()


def test_all_is_looked_at_and_the_directory_is_made_for_its_owner(tmp_path: Path) -> None:
    found = examine(tmp_path / "data" / "log", allow=["tmpfs", "overlay"])
    assert [one.check for one in found] == ["sqlite", "file system", "owner", "flush", "room"]
    assert not [one for one in found if one.level == "refusal"]
    assert list((tmp_path / "data" / "log").iterdir()) == []


@pytest.mark.parametrize(
    ("version", "level"), [("3.51.2", "refusal"), ("3.51.3", "good"), ("3.100.0", "good")]
)
def test_a_sqlite_that_corrupts_is_refused(version: str, level: str) -> None:
    assert sqlite_version(version).level == level


@pytest.mark.parametrize(
    ("directory", "kind", "level"),
    [
        ("/var/log", "ext4", "good"),
        ("/net/log", "nfs4", "refusal"),
        ("/net/local/log", "xfs", "good"),
        ("/network", "ext4", "good"),
        ("/with space/log", "tmpfs", "refusal"),
        ("/over/log", "overlay", "refusal"),
        ("/ssh", "fuse.sshfs", "refusal"),
    ],
)
def test_a_file_system_is_found_by_its_longest_mount(directory: str, kind: str, level: str) -> None:
    found = file_system(Path(directory), mounts=MOUNTS)
    assert found.level == level
    assert f"is on {kind}" in found.said
    if level == "refusal":
        assert file_system(Path(directory), [kind], MOUNTS).level == "warning"


def test_a_file_system_that_is_not_told_is_a_warning() -> None:
    assert file_system(Path("/var"), mounts="").level == "warning"


def test_a_directory_that_others_can_read_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    assert owner(tmp_path).level == "good"
    tmp_path.chmod(0o750)
    found = owner(tmp_path)
    assert found.level == "refusal"
    assert "0750" in found.said


@pytest.mark.parametrize(
    ("median_ms", "level"), [(0.004, "warning"), (0.2, "good"), (80.0, "warning")]
)
def test_a_flush_that_is_too_fast_or_too_slow_is_told(median_ms: float, level: str) -> None:
    assert flush_taken(median_ms).level == level


def test_room_is_told_in_gib(tmp_path: Path) -> None:
    assert "GiB" in room(tmp_path).said
