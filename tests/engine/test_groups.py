"""What many devices share: one finding and one incident of their site or cohort."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest

from aiops.alerts.finding import Finding
from aiops.alerts.rule import AlertRule
from aiops.detectors.protocol import Shared
from aiops.detectors.silence import Silence
from aiops.engine.engine import Engine
from aiops.testing import END, check_checkpoint, check_cut, check_order, check_replay

COMPILED = os.environ.get("NUMBA_DISABLE_JIT", "0") != "1"
DEVICES = 1000 if COMPILED else 30
START = 1_767_571_200
EVERY_S = 600
HOUR_S = 3600


def history(devices: int, cut_h: float, power: bool, hours: int = 40) -> pa.Table:
    """Return rows of a site that is cut off for a while, and of one that is not, with their end."""
    rng = np.random.default_rng(4)
    rows = []
    for d in range(devices + 3):
        hit = d < devices
        phase = rng.uniform(0.0, EVERY_S)
        ts = START + phase + np.arange(hours * HOUR_S // EVERY_S) * EVERY_S
        ts += rng.uniform(-20.0, 20.0, len(ts))
        gone = START + 24 * HOUR_S
        back = gone + cut_h * HOUR_S + rng.uniform(0.0, 40 * 60.0)
        up = ts[(ts < gone) | (ts > back)] if hit else ts
        boot = back if hit and power else START - 10 * HOUR_S
        uptime = np.where(up > back, up - boot, up - START + 10 * HOUR_S)
        site = "lyon" if hit else "osaka"
        mains = np.where(hit & power & (gone - 1200.0 < up) & (up < gone), 0.0, 1.0)
        rows += [(f"gw-{d:04d}", site, *row) for row in zip(up, uptime, mains, strict=True)]
    rows.sort(key=lambda row: row[2])
    names = ("device_id", "site", "ts", "device.uptime", "power.on_mains")
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    columns["ts"] = (np.array(columns["ts"]) * 1e9).astype(np.int64)
    table = pa.table(columns)
    table = table.set_column(2, "ts", table["ts"].cast(pa.timestamp("ns", "UTC")))
    end = pa.Table.from_pylist([END], schema=table.schema)
    return pa.concat_tables([table, end]).combine_chunks()


def silence(**settings) -> Engine:
    return Engine([AlertRule(Silence())], epoch_s=300, **settings)


@pytest.mark.parametrize(
    ("power", "said"), [(True, "the power was lost"), (False, "the network was down")]
)
def test_a_site_that_loses_power_or_network_is_one_incident(power, said):
    step = silence().step(history(DEVICES, 2.0, power))
    assert [f.where for f in step.findings] == ["site lyon", "site lyon"]
    fell, again = step.findings
    assert (fell.status, again.status) == ("firing", "resolved")
    assert fell.fingerprint == again.fingerprint
    assert fell.since_ts == again.since_ts
    assert len(fell.devices) == DEVICES
    assert ("lost their mains" in fell.sentence) == power
    assert said in again.sentence
    (incident,) = {i.key for i in step.incidents}
    assert incident == "silence@site:lyon"
    assert [i.status for i in step.incidents] == ["firing", "resolved"]
    assert {v.action.kind for v in step.verdicts} == {"notify"}


def test_groups_obey_the_laws_and_survive_being_saved():
    table = history(6, 2.0, power=True, hours=30)
    rng = np.random.default_rng(1)
    assert len(silence().step(table).incidents) == 2
    check_cut(silence, table, rng)
    check_order(silence, table, rng)
    check_replay(silence, table)
    for _ in range(3):
        check_checkpoint(silence, table, rng)


@dataclass(frozen=True)
class Together(Silence):
    """Finds something that a group shares in each epoch with rows, by turns begun and over."""

    group: str = "site"
    name: str = "reboot_drift"

    def close(self, memory, epoch):
        memory.excused[0] += 1
        return None

    def shared(self, memory, epoch) -> Sequence[Shared]:
        codes = epoch.site if self.group == "site" else epoch.cohort
        device = np.arange(epoch.size, dtype=np.int32)
        return [
            Shared(
                group=self.group,
                code=code,
                status="firing" if memory.excused[0] % 2 else "resolved",
                since=epoch.start,
                ts=epoch.end,
                score=1.0,
                observed=2.0,
                expected=0.0,
                device=device[codes == code],
                evidence={"devices": float((codes == code).sum())},
                sentence="They rebooted at one moment.",
            )
            for code in np.unique(codes).tolist()
        ]


def two_groups() -> pa.Table:
    rows = [
        {"device_id": f"gw-{d}", "site": "ab"[d % 2], "cohort": f"fw-{d // 3}", "ts": ts}
        for ts in (START, START + 60)
        for d in range(6)
    ]
    rows = [row | {"ts": np.datetime64(row["ts"], "s").item()} for row in rows]
    return pa.Table.from_pylist([*rows, dict.fromkeys(rows[0])])


@pytest.mark.parametrize(("group", "names"), [("site", ["a", "b"]), ("cohort", ["fw-0", "fw-1"])])
def test_each_group_has_its_finding_and_its_incident(group, names):
    engine = Engine([AlertRule(Together(group=group))])
    step = engine.step(two_groups())
    fired = [f for f in step.findings if f.status == "firing"]
    assert [f.where for f in fired] == [f"{group} {name}" for name in names]
    assert [f.group for f in fired] == [f"{group}:{name}" for name in names]
    assert all(f.device_id == "" and len(f.devices) == 3 for f in fired)
    assert len({f.fingerprint for f in step.findings}) == 2
    assert {i.key for i in step.incidents} == {f"reboot_drift@{group}:{name}" for name in names}
    asked = {(v.action.kind, v.action.target) for v in step.verdicts if v.action.kind != "notify"}
    assert asked == ({("hold_rollout", (n,)) for n in names} if group == "cohort" else set())
    record = fired[0].to_record()
    again = Finding.from_plain(
        {k: v for k, v in record.items() if k in Finding.__dataclass_fields__}
        | {"since_ts": fired[0].since_ts, "ts": fired[0].ts}
    )
    assert again.fingerprint == fired[0].fingerprint
