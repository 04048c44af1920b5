from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.bombs import Bomb, bombs, many_messages
from tests.service.running import Running, until

GROWN_MIB = 64.0
ANSWERED_S = 1.0


class Memory:
    """Of a process, in MiB, as the kernel counts it."""

    def __init__(self, pid: int) -> None:
        self._of = Path(f"/proc/{pid}")

    def _told(self, name: str) -> float:
        lines = (self._of / "status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024

    def grown_by(self) -> Iterator[float]:
        """Yield nothing to speak of, and then how much more was held in between at most."""
        (self._of / "clear_refs").write_text("5")
        before = self._told("VmRSS")
        yield 0.0
        yield self._told("VmHWM") - before


def wrong_with(service: Running, bomb: Bomb) -> str:
    """Send it; return what is wrong with what follows, or nothing."""
    headers = {"content-type": bomb.kind, "content-encoding": bomb.encoding}
    grown = Memory(service.process.pid).grown_by()
    next(grown)
    begun = time.monotonic()
    answer = service.client.post(bomb.path, content=bomb.body, headers=headers)
    took_s, grown_mib = time.monotonic() - begun, next(grown)
    said = f"{bomb.name}: {answer.status_code} in {took_s:.3f} s, {grown_mib:.1f} MiB"
    print(said)
    refused = answer.status_code == 200 if bomb.by_row else 400 <= answer.status_code < 500
    return "" if refused and took_s < ANSWERED_S and grown_mib < GROWN_MIB else said


def test_every_bomb_is_refused_at_once_and_costs_no_memory(fleet: Running) -> None:
    assert [wrong for bomb in bombs() if (wrong := wrong_with(fleet, bomb))] == []


def test_many_messages_of_nothing_cost_no_memory(fleet: Running) -> None:
    assert wrong_with(fleet, many_messages()) == ""


def test_nothing_of_any_bomb_was_kept(fleet: Running) -> None:
    for device in ("bomb", "bomb-2", "other", "0", ""):
        assert fleet.items("/v1/telemetry", device_id=device) == []


@pytest.mark.parametrize("word", ["1e999", "-1e999", '"Infinity"'])
def test_a_word_that_is_no_number_is_set_aside_and_enters_no_state(
    fleet: Running, word: str
) -> None:
    device = f"word-{word.strip(chr(34))}"
    line = f'{{"device_id":"{device}","ts":{time.time_ns()},"temperature.celsius":{word}}}\n'
    answer = fleet.client.post(
        "/v1/telemetry", content=line, headers={"content-type": "application/x-ndjson"}
    )
    assert answer.status_code == 200
    aside = until(lambda: fleet.items("/v1/quarantine", device_id=device))
    assert [(one["metric"], one["value"]) for one in aside] == [
        ("temperature.celsius", word.strip('"'))
    ]
