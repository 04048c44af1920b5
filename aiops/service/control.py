"""control.db: what the engine said, what people said to it, and what is still to be told.

Everything that one step of the engine leads to (findings, incidents, plans, actions, messages to
outlets and the position in the log) is one transaction, fsynced. After a crash the engine runs
again from its checkpoint; what is known by its id is not taken twice, and so nothing is told twice.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from aiops.alerts.finding import content_id
from aiops.engine.engine import Step
from aiops.engine.ports import LogRecord, Message, Outlet, Position
from aiops.errors import CheckpointError, DeliveryError
from aiops.service import ledger
from aiops.service.records import Records

FORMAT = "1"
QUARANTINE_ROWS = 100_000
"""The newest are kept."""

RECORD_ROWS = 1_000_000
DONE_ROWS = 100_000
"""Likewise, of records that newer ones of their subject have replaced, and of messages that were
taken."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS records(
    seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, id TEXT NOT NULL UNIQUE,
    subject TEXT NOT NULL, status TEXT, severity TEXT, rule TEXT, device_id TEXT, site TEXT,
    cohort TEXT, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS records_kind ON records(kind, seq);
CREATE INDEX IF NOT EXISTS records_device ON records(device_id, seq);
CREATE TABLE IF NOT EXISTS latest(
    kind TEXT, subject TEXT, seq INTEGER NOT NULL, status TEXT,
    PRIMARY KEY(kind, subject)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS latest_seq ON latest(kind, seq);
CREATE TABLE IF NOT EXISTS outbox(
    seq INTEGER PRIMARY KEY AUTOINCREMENT, outlet TEXT NOT NULL, id TEXT NOT NULL,
    kind TEXT NOT NULL, created_ns INTEGER NOT NULL, body TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending', error TEXT, UNIQUE(outlet, id));
CREATE INDEX IF NOT EXISTS outbox_pending ON outbox(outlet, seq) WHERE state = 'pending';
CREATE TABLE IF NOT EXISTS quarantine(
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, reason TEXT NOT NULL,
    device_id TEXT, part TEXT, ts INTEGER, metric TEXT, value TEXT, sender TEXT,
    rows INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS quarantine_device ON quarantine(device_id, seq);
CREATE TABLE IF NOT EXISTS audit(
    seq INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL, hash TEXT NOT NULL);
"""

SUBJECT = {
    "findings": "fingerprint",
    "incidents": "incident_id",
    "plans": "id",
    "actions": "action_id",
    "labels": "id",
}
"""Kind of record -> what stays the same while its state changes."""
MESSAGE = {"findings": "finding", "incidents": "incident", "actions": "action"}
_REFUSED = ("reason", "device_id", "part", "ts", "metric", "value")

_encode = msgspec.json.Encoder(enc_hook=lambda value: value.item()).encode


class Control(Records):
    """The database beside the log: a sink of the engine, and what the API reads.

    Parameters
    ----------
    path
        Made if it is not there.
    outlets
        Who is told, and of what.
    automatic
        Kinds of actions that need nobody's approval once the guard allows them.
    halted
        Says whether the halt switch is on: then no action leaves.

    Raises
    ------
    CheckpointError
        The file was written by another version.
    """

    def __init__(
        self,
        path: Path,
        outlets: Sequence[Outlet] = (),
        *,
        automatic: frozenset[str] = frozenset({"notify"}),
        halted: Callable[[], bool] = lambda: False,
    ) -> None:
        self._takes = {outlet.name: outlet.kinds for outlet in outlets}
        self._leaves: dict[str, frozenset[str]] = {
            one.name: getattr(one, "leaves", frozenset()) for one in outlets
        }
        self._automatic = automatic
        self._halted = halted
        self._lock = threading.RLock()
        super().__init__(path)
        self._db.set_busy_timeout(10_000)
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.execute(_SCHEMA)
        self._waiting: list[tuple[Any, ...]] = []
        """Rows for the quarantine..."""
        self._written = 0
        """...of which the transaction that is open has so many."""
        self.on_commit: Callable[[], None] = lambda: None
        """Called after each transaction that others may want to see."""
        found = self.meta("format")
        if found is None:
            self._set("format", FORMAT)
        elif found != FORMAT:
            raise CheckpointError(
                f"{path}: format {found}, this version reads {FORMAT}; move it and the engine's "
                f"state away, and what it held is made again from the log as far as that goes back"
            )

    # The engine writes -----------------------------------------------------------------------

    def write(self, step: Step, position: Position) -> None:
        """Take the results of a step, all in one transaction with the position."""
        records = step.records()
        if not any(records.values()) and not len(step.set_aside) and not step.epochs:
            return
        now = max((epoch.end for epoch in step.epochs), default=0)
        with self.transaction():
            for kind in ("findings", "incidents", "plans"):
                for record in records[kind]:
                    self._take(kind, record, record.get("status"), now)
            for record in records["actions"]:
                self._take_verdict(record, now)
            self._expire(now)
            self._set_aside(
                [(*(row[name] for name in _REFUSED), "", 1) for row in step.set_aside.to_pylist()]
            )
            self._set("position", json.dumps(position))

    def close(self) -> None:
        """Keep what still waits; called once, when nothing more comes and nobody asks.

        Raises
        ------
        apsw.FullError
            There is no room to keep it.
        """
        with self._lock:
            try:
                if self._waiting:
                    with self.transaction():
                        self._set_aside([])
            finally:
                self._db.close()

    def _take(self, kind: str, record: dict[str, Any], status: str | None, now_ns: int) -> bool:
        """Take a record unless it is known; queue it for the outlets that want its kind."""
        subject = record[SUBJECT[kind]]
        device = record.get("device_id") or None
        if kind == "actions":
            device = record["target"][0] if len(record["target"]) == 1 else None
        body = _encode(record).decode()
        rows = self._db.execute(
            "INSERT OR IGNORE INTO records(kind, id, subject, status, severity, rule, device_id,"
            " site, cohort, body) VALUES (?,?,?,?,?,?,?,?,?,?) RETURNING seq",
            (
                *(kind, record["id"], subject, status, record.get("severity")),
                *(record.get("rule"), device, record.get("site"), record.get("cohort"), body),
            ),
        ).fetchall()
        if not rows:
            return False
        self._db.execute(
            "INSERT INTO latest VALUES (?,?,?,?) ON CONFLICT DO UPDATE"
            " SET seq = excluded.seq, status = excluded.status",
            (kind, subject, rows[0][0], status),
        )
        if not record.get("quiet") and (kind != "actions" or status == "approved"):
            id = record["id"] if kind != "actions" else subject
            self._db.executemany(
                "INSERT OR IGNORE INTO outbox(outlet, id, kind, created_ns, body)"
                " VALUES (?,?,?,?,?)",
                [
                    (outlet, id, MESSAGE[kind], now_ns, body)
                    for outlet in self._takers(kind, record)
                ],
            )
        return True

    def _takers(self, kind: str, record: dict[str, Any]) -> list[str]:
        """Return the outlets that are told of a record."""
        message = MESSAGE.get(kind)
        return [
            outlet
            for outlet, kinds in self._takes.items()
            if message in kinds
            and not (kind == "actions" and record["kind"] in self._leaves[outlet])
        ]

    # Actions ---------------------------------------------------------------------------------

    def _take_verdict(self, record: dict[str, Any], now_ns: int) -> None:
        before = self._state(record["action_id"])
        state = ledger.after_verdict(before, record, self._automatic)
        if state is not None:
            self._move(record, state, "engine", record["verdict_reason"], now_ns)

    def _move(
        self, record: dict[str, Any], state: str, who: str, why: str, now_ns: int
    ) -> dict[str, Any]:
        """Put an action into a state, and that into the audit."""
        moved = record | {"state": state, "state_by": who, "state_reason": why}
        if state == "approved":  # what a device must know to take a command once
            # It begins with the time, so that it rises also when this database is lost.
            counter = max(int(self.meta("counter") or 0) + 1, now_ns)
            self._set("counter", str(counter))
            moved |= {"counter": counter, "approvers": [who]}
            if not self._takers("actions", record):
                moved["state_reason"] = f"{why}; no outlet takes it, so nobody is told"
        moved["id"] = content_id("act-state", record["action_id"], state, who, why)
        if self._take("actions", moved, state, now_ns):
            self._audit(now_ns, who, f"action {state}", record["action_id"], why)
        return moved

    def _state(self, action_id: str) -> str | None:
        rows = self._db.execute(
            "SELECT status FROM latest WHERE kind = 'actions' AND subject = ?", (action_id,)
        ).fetchall()
        return str(rows[0][0]) if rows else None

    def _expire(self, now_ns: int) -> None:
        for action in self._latest_actions("proposed"):
            if ledger.expired(action, now_ns):
                self._move(action, "expired", "engine", "nobody approved it in time", now_ns)

    def _latest_actions(self, state: str) -> list[dict[str, Any]]:
        rows = self._db.execute(
            "SELECT body FROM latest JOIN records USING(seq)"
            " WHERE latest.kind = 'actions' AND latest.status = ?",
            (state,),
        )
        return [json.loads(body) for (body,) in rows]

    def action(self, action_id: str) -> dict[str, Any] | None:
        """Return an action as it stands, or None."""
        return self.current("actions", action_id)

    # What people said, in its place in the log -----------------------------------------------

    def hear(self, number: int, record: LogRecord) -> None:
        """Take what a person did; its number in the log makes that once.

        The body of a proposal is what the guard said: its notes, and last of the action itself.
        """
        if number <= int(self.meta("heard") or 0):
            return
        said = msgspec.json.decode(record.body)
        now = record.recv_ns
        with self.transaction():
            if record.kind == "label":
                label = said | {"id": content_id("lab", number), "author": record.sender}
                self._take("labels", label, said["said"], now)
                self._audit(now, record.sender, "label", said["finding_id"], said["said"])
            elif record.kind in ledger.DECISIONS:
                self._decide(record.kind, said, record.sender, now)
            elif record.kind == "proposal":
                for verdict in said:
                    self._take_verdict(verdict, now)
                action_id, reason = said[-1]["action_id"], said[-1]["reason"]
                self._set(f"heard/{number}", action_id)
                self._audit(now, record.sender, "proposal", action_id, reason)
            else:
                subject = said.get("incident_id") or said.get("silence_id") or ""
                self._audit(now, record.sender, record.kind, subject, json.dumps(said))
            self._set("heard", str(number))

    def heard(self, number: int) -> dict[str, Any] | None:
        """Return the action that a proposal in the log led to, or None."""
        action_id = self.meta(f"heard/{number}")
        return None if action_id is None else self.action(action_id)

    def _decide(self, kind: str, said: dict[str, Any], who: str, now_ns: int) -> None:
        action = self.action(said["action_id"])
        refusal = ledger.refusal(action, who, now_ns, halted=self._halted())
        if action is None or refusal:
            self._audit(now_ns, who, f"{kind} refused", said["action_id"], refusal)
            return
        self._move(action, ledger.DECISIONS[kind], who, said.get("reason", ""), now_ns)

    # Outlets ---------------------------------------------------------------------------------

    def pending(self, outlet: str, n: int) -> list[Message]:
        """Return the oldest messages an outlet has not been given; no actions while halted."""
        actions = "" if not self._halted() else " AND kind != 'action'"
        rows = self._read(
            "SELECT id, kind, body, created_ns FROM outbox WHERE outlet = ? AND state = 'pending'"
            f"{actions} ORDER BY seq LIMIT ?",
            (outlet, n),
        )
        return [Message(id, kind, json.loads(body), ns) for id, kind, body, ns in rows]

    def may_leave(self, message: Message, now_ns: int) -> None:
        """Look once more before a message leaves: the outbox was read before, or filled long ago.

        Raises
        ------
        DeliveryError
            It is an action, and the halt switch is on, or its evidence is stale. What needed
            nobody's approval may be late: it tells people.
        """
        if message.kind != "action":
            return
        if self._halted():
            raise DeliveryError("the halt switch is on")
        if message.record["kind"] not in self._automatic and ledger.expired(message.record, now_ns):
            end = message.record["expires_ts"]
            raise DeliveryError(f"its evidence is stale since {end}", permanent=True)

    def delivered(self, outlet: str, id: str) -> None:
        """Note that an outlet took a message."""
        self._settle(outlet, id, "done", None)

    def failed(self, outlet: str, id: str, said: str, permanent: bool) -> None:
        """Note that an outlet did not take a message; a permanent failure ends it."""
        self._settle(outlet, id, "failed" if permanent else "pending", said)

    def _settle(self, outlet: str, id: str, state: str, said: str | None) -> None:
        with self.transaction():
            self._db.execute(
                "UPDATE outbox SET state = ?, error = ? WHERE outlet = ? AND id = ?",
                (state, said, outlet, id),
            )
            if state == "pending":
                return
            action = self.action(id)
            if action is not None and action["state"] == "approved":
                now = int(self._read("SELECT max(created_ns) FROM outbox")[0][0])
                end = "sent" if state == "done" else "failed"
                self._move(action, end, outlet, said or "taken", now)

    # Quarantine ------------------------------------------------------------------------------

    def set_aside(
        self, reason: str, sender: str, rows: int, example: str, device_id: str = "", at_ns: int = 0
    ) -> None:
        """Keep what a payload held and could not be taken; written with the next transaction."""
        with self._lock:
            if len(self._waiting) < QUARANTINE_ROWS:
                self._waiting.append(
                    (reason, device_id, "", at_ns or None, "", example, sender, rows)
                )

    def prune(self) -> None:
        """Forget the oldest of what is beyond its bound; what stands now and the audit stay."""
        with self.transaction():
            self._db.execute(
                "DELETE FROM outbox WHERE state = 'done' AND seq <="
                " (SELECT max(seq) FROM outbox) - ?",
                (DONE_ROWS,),
            )
            self._db.execute(
                "DELETE FROM records WHERE seq <= (SELECT max(seq) FROM records) - ?"
                " AND seq NOT IN (SELECT seq FROM latest)",
                (RECORD_ROWS,),
            )

    def flush(self) -> None:
        """Write what waits for the quarantine."""
        if self._waiting:
            with self.transaction():
                self._set_aside([])

    def _set_aside(self, rows: list[tuple[Any, ...]]) -> None:
        with self._lock:
            rows = [*self._waiting[self._written :], *rows]
            self._written = len(self._waiting)
        if not rows:
            return
        self._db.executemany(
            "INSERT INTO quarantine(id, reason, device_id, part, ts, metric, value, sender, rows)"
            " VALUES (?,?,?,?,?,?,?,?,?)"
            " ON CONFLICT DO NOTHING",
            [(content_id("row", *row), *row) for row in rows],
        )
        self._db.execute(
            "DELETE FROM quarantine WHERE seq <= (SELECT max(seq) FROM quarantine) - ?",
            (QUARANTINE_ROWS,),
        )

    # Audit -----------------------------------------------------------------------------------

    def note(self, ts_ns: int, who: str, what: str, subject: str, said: str) -> None:
        """Add an entry to the audit."""
        with self.transaction():
            self._audit(ts_ns, who, what, subject, said)

    def _audit(self, ts_ns: int, who: str, what: str, subject: str, said: str) -> None:
        rows = self._read("SELECT hash FROM audit ORDER BY seq DESC LIMIT 1")
        body = json.dumps([ts_ns, who, what, subject, said])
        digest = ledger.chained(rows[0][0] if rows else "", body)
        self._db.execute("INSERT INTO audit(body, hash) VALUES (?,?)", (body, digest))

    # The database ----------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Hold everything done inside together: all of it, fsynced, or nothing."""
        with self._lock:
            if self._writer is not None:  # all of it is one with what is held together already
                yield
                return
            self._writer = threading.get_ident()
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield
                self._db.execute("COMMIT")
                del self._waiting[: self._written]
            finally:
                self._writer = None
                self._written = 0
                # A full disk has undone it already, and there is nothing left to roll back.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
        self.on_commit()

    def _set(self, name: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?,?)", (name, value))
