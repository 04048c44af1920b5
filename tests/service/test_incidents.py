"""Incidents through the API and the command line: acknowledged, silenced, and listed with blame."""

from __future__ import annotations

from tests.cli.process import aiops
from tests.service.running import Running


def test_a_silence_is_made_listed_and_ended(fleet: Running) -> None:
    client = fleet.client
    asked = {"matchers": ["site=nowhere", "rule=~sil.*"], "for_s": 600, "comment": "a test"}
    made = client.post("/v1/silences", json=asked)
    assert made.status_code == 201
    silence = made.json()
    assert (silence["state"], silence["every"], silence["comment"]) == ("active", "", "a test")
    assert client.get(f"/v1/silences/{silence['id']}").json() == silence
    assert silence["id"] in [one["id"] for one in client.get("/v1/silences").json()["items"]]
    ended = client.delete(f"/v1/silences/{silence['id']}").json()
    assert (ended["id"], ended["state"]) == (silence["id"], "expired")
    assert [entry["what"] for entry in client.get("/v1/audit").json()["items"]][:2] == [
        "silence end",
        "silence",
    ]


def test_what_is_no_silence_is_refused(fleet: Running) -> None:
    for wrong in (
        {"matchers": ["site=~.*"]},
        {"matchers": ["site=~("]},
        {"matchers": ["site=lyon"], "from": "tonight"},
        {
            "matchers": ["site=lyon"],
            "from": "2199-12-31T00:00:00Z",
            "until": "2200-12-31T00:00:00Z",
        },
    ):
        answer = fleet.client.post("/v1/silences", json=wrong)
        assert answer.status_code == 422, answer.text
    assert fleet.client.delete("/v1/silences/sil-none").status_code == 404


def test_an_incident_is_acknowledged_unless_it_is_over(fleet: Running) -> None:
    client = fleet.client
    incident = fleet.items("/v1/incidents", status="firing")[0]
    name = incident["incident_id"]
    for id in (name, incident["id"]):
        answer = client.post(f"/v1/incidents/{id}/acknowledge", json={"until": "worse"})
        assert answer.status_code == 202
        assert answer.json()["incident_id"] == name
    said = client.get("/v1/audit").json()["items"][0]
    assert (said["what"], said["subject"]) == ("acknowledgement", name)
    assert (
        client.post(f"/v1/incidents/{name}/acknowledge", json={"until": "now"}).status_code == 202
    )
    assert client.post("/v1/incidents/inc-none/acknowledge").status_code == 404
    for over in fleet.items("/v1/incidents", status="resolved")[:1]:
        answer = client.post(f"/v1/incidents/{over['incident_id']}/acknowledge")
        assert answer.status_code == 409


def test_the_command_line_says_the_same(fleet: Running) -> None:
    asked = ["--url", fleet.url, "--token", fleet.token]
    told = aiops("incidents", "--json", *asked, cwd=fleet.data).json
    assert told == fleet.client.get("/v1/incidents?status=firing&limit=20").json()
    shown = aiops("incidents", *asked, cwd=fleet.data)
    assert told["items"][0]["incident_id"] in shown.words
    assert max(map(len, shown.out.splitlines())) <= 80
    name = told["items"][0]["incident_id"]
    done = aiops("incidents", "acknowledge", name, "--until", "now", *asked, cwd=fleet.data)
    assert f"{name} is not acknowledged any more" in done.words
    made = aiops(
        "silence", "add", "site=nowhere", "--for", "2", "--every", "week", *asked, cwd=fleet.data
    )
    assert "silences site=nowhere" in made.words
    listed = aiops("silence", "list", "--json", *asked, cwd=fleet.data).json["items"]
    assert listed[0]["every"] == "week"
    shown = aiops("silence", "list", *asked, cwd=fleet.data)
    assert listed[0]["id"] in shown.words
    assert max(map(len, shown.out.splitlines())) <= 80
    ended = aiops("silence", "end", listed[0]["id"], *asked, cwd=fleet.data)
    assert f"{listed[0]['id']} is over" in ended.words
