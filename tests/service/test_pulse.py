from __future__ import annotations

from datetime import UTC, datetime

import pytest

from aiops.service import pulse

ASK = "curl 'http://x{path}'"
WELL = """\
# HELP aiops_ready 1 once the state is restored
aiops_log_last_seq 5.0
aiops_log_judged_seq 5.0
aiops_log_queued_bytes 0.0
aiops_log_damaged 0.0
aiops_checkpoint_age_seconds 60.0
aiops_halted 0.0
aiops_ingest_rows_total{protocol="mqtt"} 7.0
"""


def looks(text: str) -> dict[str, pulse.Look]:
    return {one.name: one for one in pulse.figures(pulse.samples(text), ASK)}


def test_a_service_that_is_well_is_ok_in_everything():
    assert {one.state for one in looks(WELL).values()} == {"ok"}


@pytest.mark.parametrize(
    ("changed", "name", "state", "found"),
    [
        ("aiops_log_last_seq 50000", "backlog", "warn", "49,995 records"),
        ("aiops_checkpoint_age_seconds 7200", "saved", "warn", "120 min"),
        ("aiops_log_damaged 2", "log damage", "FAIL", "2 stretches"),
        ("aiops_halted 1", "halt", "warn", "halt switch is on"),
        ('aiops_ingest_refused_total{reason="over_quota"} 3', "refused", "warn", "3 over_quota"),
        ('aiops_mqtt_connected{broker="b:1883"} 0', "broker", "FAIL", "b:1883 is not reached"),
        ('aiops_http_errors_total{route="otlp_logs",status="401"} 2', "requests", "warn", "2 otlp"),
        ('aiops_set_aside_total{reason="late"} 4', "set aside", "warn", "4 late"),
        ('aiops_outbox{outlet="hook",state="failed"} 2', "outbox", "warn", "2 to hook"),
        ('aiops_outbox_oldest_seconds{outlet="hook"} 900', "outlet", "FAIL", "hook has not taken"),
    ],
)
def test_what_is_not_well_is_said_with_what_mends_it(changed, name, state, found):
    key = changed.partition(" ")[0]
    text = "".join(line + "\n" for line in WELL.splitlines() if not line.startswith(key + " "))
    told = looks(text + changed + "\n")
    ill = told.pop(name)
    assert name in (*looks(WELL), "broker", "outlet")
    assert ill.state == state
    assert found in ill.found
    assert ill.mend
    assert {one.state for one in told.values()} == {"ok"}


def test_what_waits_a_little_and_a_probe_of_readiness_are_nothing_to_warn_of():
    told = looks(
        WELL + 'aiops_outbox_oldest_seconds{outlet="hook"} 30\n'
        'aiops_http_errors_total{route="readyz",status="503"} 9\n'
    )
    assert {one.state for one in told.values()} == {"ok"}
    assert told["requests"].found == "none was answered with an error"


@pytest.mark.parametrize(
    ("age_s", "up_s", "state", "found"),
    [
        (60, 60, "ok", "not yet since the start 1 min ago"),
        (7200, 7200, "warn", "not yet since the start 120 min ago"),
        (60, 7200, "ok", "saved 1 min ago"),
        (7200, 60, "ok", "not yet since the start 1 min ago"),  # it was down meanwhile
    ],
)
def test_a_state_that_was_never_saved_is_not_said_to_be(age_s, up_s, state, found):
    changed = WELL.replace("_age_seconds 60.0", f"_age_seconds {age_s}")
    look = looks(f"{changed}aiops_uptime_seconds {up_s}\n")["saved"]
    assert look.state == state
    assert found in look.found


@pytest.mark.parametrize(
    ("status", "because", "state"),
    [
        (200, "", "ok"),
        (503, "compiling kernels", "warn"),
        (503, "the engine stopped: ValueError", "FAIL"),
        (404, "", "FAIL"),
    ],
)
def test_whether_it_is_ready(status, because, state):
    assert pulse.ready(status, {"because": because}).state == state


@pytest.mark.parametrize(("apart_s", "state"), [(0.5, "ok"), (-1.9, "ok"), (5, "warn")])
def test_clocks_may_be_apart_a_little(apart_s, state):
    begun = 1_000_000_000.0
    moment = datetime.fromtimestamp(begun + apart_s, tz=UTC).isoformat()
    assert pulse.clock(moment, begun, begun).state == state


def test_silent_devices_are_named_up_to_a_few():
    items = [{"device_id": f"gw-{i}"} for i in range(9)] + [{"device_id": "", "site": "lyon"}]
    look = pulse.silence(items, 20, ASK)
    assert look.state == "warn"
    assert look.found == "10 missed: gw-0, gw-1, gw-2, gw-3, gw-4, ..."
    assert pulse.silence([], 20, ASK).state == "ok"
    assert "site lyon" in pulse.silence(items[-1:], 20, ASK).found
