"""Labels through the API and the command line: their effect, applying it, and undoing it."""

from __future__ import annotations

from tests.cli.process import aiops
from tests.service.running import Running


def test_labels_wait_until_they_are_applied_and_can_be_undone(fleet: Running) -> None:
    client = fleet.client
    finding = fleet.items("/v1/findings", status="firing")[0]
    before = client.get("/v1/feedback").json()
    for _ in range(2):  # the second counts instead of the first
        answer = client.post(f"/v1/findings/{finding['id']}/labels", json={"said": "TRUE_POSITIVE"})
        assert answer.status_code == 202
    told = client.get("/v1/feedback").json()
    assert told["labels"] == told["waiting"] == before["labels"] + 2
    assert told["findings"] >= 1
    assert told["acted_on_and_held"] == []
    applied = client.post("/v1/feedback/apply").json()
    assert (applied["labels"], applied["waiting"]) == (told["labels"], 0)
    assert client.post("/v1/feedback/undo").json() == told
    said = [entry["what"] for entry in client.get("/v1/audit").json()["items"]]
    assert said[:2] == ["feedback", "feedback"]


def test_the_command_line_says_the_same(fleet: Running) -> None:
    finding = fleet.items("/v1/findings", status="firing")[0]
    asked = ["--url", fleet.url, "--token", fleet.token]
    done = aiops(
        "feedback", "label", finding["id"], "benign", "--text", "lab device", *asked, cwd=fleet.data
    )
    assert "is labelled benign" in done.words
    told = aiops("feedback", "show", "--json", *asked, cwd=fleet.data).json
    assert told == fleet.client.get("/v1/feedback").json()
    assert f"{told['labels']} label" in aiops("feedback", "show", *asked, cwd=fleet.data).words
    nobody = aiops("feedback", "label", "fnd-none", "true", *asked, cwd=fleet.data)
    assert nobody.code == 1
    assert "there is no finding fnd-none" in nobody.words
