"""An inventory file is read as it was meant, or refused with what is wrong in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiops.connectors.inventory import read_inventory, write_inventory
from aiops.errors import FileError
from aiops.fleet.inventory import Inventory, Node, Site, Workload

TOML = """
[[nodes]]
id = "gw-1"
kind = "gateway"
site = "Lyon"
cpu_cores = 4
battery_wh = 50
arch = "arm64"

[[nodes]]
id = "cloud-1"
kind = "cloud"

[[workloads]]
id = "vision"
home = "gw-1"
latency_slo_ms = 50.0
candidates = ["cloud-1"]
residency = ["eu"]
kinds = ["gateway", "cloud"]

[[sites]]
id = "Lyon"
region = "eu"
uplink_mbit_s = 20.0
"""
FLEET = Inventory(
    (
        Node("gw-1", "gateway", "Lyon", cpu_cores=4.0, battery_wh=50.0, arch="arm64"),
        Node("cloud-1", "cloud"),
    ),
    (
        Workload(
            "vision",
            "gw-1",
            latency_slo_ms=50.0,
            candidates=("cloud-1",),
            residency=("eu",),
            kinds=("gateway", "cloud"),
        ),
    ),
    (Site("Lyon", region="eu", uplink_mbit_s=20.0),),
)


def test_toml_is_read(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text(TOML)
    assert read_inventory(tmp_path / "fleet.toml") == FLEET


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    write_inventory(FLEET, tmp_path / "fleet.json")
    assert read_inventory(tmp_path / "fleet.json") == FLEET
    assert [path.name for path in tmp_path.iterdir()] == ["fleet.json"]
    write_inventory(Inventory(), tmp_path / "fleet.json")
    assert read_inventory(tmp_path / "fleet.json") == Inventory()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("f.json", "{", "is no JSON"),
        ("f.toml", "= 3", "is no TOML"),
        ("f.yaml", "", r"name it \.json or \.toml"),
        ("f.json", "[]", "expected 'nodes' and 'workloads'"),
        ("f.json", '{"devices": []}', "has 'devices'; known are nodes, workloads"),
        ("f.json", '{"nodes": {}}', "nodes must be a list"),
        ("f.toml", '[[sites]]\nid = "a"\n[[sites]]\nid = "a"', r"sites\[1\]: 'a' is there twice"),
        ("f.json", '{"sites": [{"id": "a", "uplink": 2}]}', r"did you mean 'uplink_mbit_s'\?"),
        ("f.json", '{"nodes": [{"id": "a", "speed": 0}]}', "f.json: speed of 'a' is 0.0; give a"),
        ("f.json", '{"nodes": [{"id": "a", "battery_wh": "full"}]}', r"nodes\[0\]: .*battery_wh"),
        ("f.json", '{"nodes": [{"id": "a", "cpu": 2}]}', r"nodes\[0\] has 'cpu'; known are id"),
        ("f.json", '{"nodes": [{"id": "a", "kind": "toaster"}]}', r"nodes\[0\]: .*toaster"),
        ("f.json", '{"nodes": [{"id": "a"}, {"id": "a"}]}', r"nodes\[1\]: 'a' is there twice"),
        ("f.json", '{"workloads": [{"id": "w", "home": "a"}]}', "'w' names node 'a', which is not"),
        (
            "f.json",
            '{"nodes": [{"id": "a"}],'
            ' "workloads": [{"id": "w", "home": "a", "candidates": ["b"]}]}',
            "'w' names node 'b', which is not",
        ),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(FileError, match=message):
        read_inventory(tmp_path / name)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="No such file"):
        read_inventory(tmp_path / "fleet.toml")
