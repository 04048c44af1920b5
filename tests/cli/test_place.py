"""`aiops place`: what it says of the fleet that the repository holds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from aiops.cli.app import app
from aiops.connectors.conditions import read_conditions
from aiops.connectors.inventory import read_inventory
from aiops.errors import FileError
from aiops.placement.instance import write_instance
from aiops.placement.market import settle
from tests.placement.instances import random_instance

DATA = Path(__file__).parents[2] / "data" / "placement"
FLEET = [str(DATA / "site.toml"), "--state", str(DATA / "state.csv")]


def run(*arguments, code=0):
    done = CliRunner().invoke(app, ["place", *arguments], env={"COLUMNS": "80", "NO_COLOR": "1"})
    assert done.exit_code == code, done.output + str(done.exception)
    if code == 0 and "--json" not in arguments:
        assert max(map(len, done.output.splitlines())) <= 80
    return done.output


def test_a_plan_says_what_moves_and_how_sure_it_is():
    said = run("plan", *FLEET)
    assert "4 workloads" in said
    assert "no plan is cheaper" in said
    assert "detect-1  camera-1" in said
    record = json.loads(run("plan", *FLEET, "--json"))
    assert record["gap"] == 0.0
    assert record["placement"]["detect-1"] != "camera-1"
    assert "Nothing has to move." in run("plan", FLEET[0])


def test_a_decision_is_explained():
    said = run("explain", "detect-1", *FLEET)
    assert "camera-1: can spare 0.00 W of the 4.00 W needed" in said
    assert "It would be at" in said
    record = json.loads(run("explain", "detect-1", *FLEET, "--json"))
    for option in record["options"]:
        assert sum(option["terms"].values()) == option["cost"]
    assert "is at camera-2" in run("why-not", "detect-2", "camera-2", *FLEET)
    assert "dearer than camera-2" in run("why-not", "detect-2", "cloud-1", *FLEET)


def test_prices_and_what_if():
    assert "gw-1" in run("prices", *FLEET)
    assert "Nothing that several nodes share is scarce" in run("prices", FLEET[0])
    assert json.loads(run("prices", *FLEET, "--json"))[0]["place"] == "gw-1"
    said = run("what-if", *FLEET, "--kill", "gw-1", "--heat", "lyon=+5", "--price", "cloud-1=+10%")
    assert "an hour dearer" in said
    assert "count-people  gw-1" in said
    record = json.loads(run("what-if", *FLEET, "--kill", "gw-2", "--json"))
    assert all(move["to"] != "gw-2" for move in record["moved"])


def test_an_overlay_can_be_a_file(tmp_path):
    path = tmp_path / "overlay.toml"
    path.write_text('kill = ["gw-1"]\n[heat]\nlyon = 5\n', encoding="utf-8")
    assert "count-people" in run("what-if", *FLEET, "--overlay", str(path))


def test_a_written_plan_is_verified(tmp_path):
    instance = random_instance(1, w=20, tight=2.0)
    done = settle(instance)
    path = tmp_path / "plan.npz"
    write_instance(path, instance, done.choice, done.prices, done.bound)
    assert "20 workloads, 0 violations" in run("verify", str(path))
    wrong = np.zeros_like(done.choice)
    write_instance(path, instance, wrong, done.prices, done.bound)
    assert json.loads(run("verify", str(path), "--json", code=1))["violations"] > 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["explain", "moon", *FLEET], "no workload 'moon'"),
        (["why-not", "detect-1", "moon", *FLEET], "'moon' is not among them"),
        (["what-if", *FLEET, "--kill", "moon"], "no node or site is called 'moon'"),
        (["what-if", *FLEET, "--heat", "lyon"], "give NAME=VALUE"),
        (["plan", str(DATA / "none.toml")], "No such file"),
        (["verify", "none.npz"], "there is no file none.npz"),
        (["plan", FLEET[0], "--state", "state.xls"], "name it .csv or .parquet"),
    ],
)
def test_what_is_wrong_is_said(arguments, said):
    done = CliRunner().invoke(app, ["place", *arguments])
    assert done.exit_code == 1
    assert said in str(done.exception) + done.output


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("node,heat\ngw-1,5\n", "has heat; it may have node"),
        ("temperature_c\n5\n", "has no column 'node'"),
        ("node,rtt_ms\nmoon,5\n", "'moon' is no node"),
        ("node,rtt_ms\ngw-1,5\ngw-1,6\n", "names 'gw-1' twice"),
        ("node,rtt_ms\ngw-1,far\n", "column rtt_ms"),
    ],
)
def test_conditions_that_cannot_be_read_are_refused(tmp_path, text, said):
    path = tmp_path / "state.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FileError, match=said):
        read_conditions(path, read_inventory(DATA / "site.toml"))


def test_conditions_are_read_and_the_rest_is_unknown(tmp_path):
    inventory = read_inventory(DATA / "site.toml")
    path = tmp_path / "state.csv"
    path.write_text("node,rtt_ms,silent\ngw-2,7.5,true\ngw-1,,\n", encoding="utf-8")
    found = read_conditions(path, inventory)
    at = {node.id: i for i, node in enumerate(inventory.nodes)}
    assert found.rtt_ms[at["gw-2"]] == 7.5
    assert np.isnan(np.delete(found.rtt_ms, at["gw-2"])).all()
    assert found.silent.tolist() == [name == "gw-2" for name in at]
    assert np.isnan(found.temperature_c).all()
