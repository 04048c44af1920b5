"""What is in control.db, for those who ask."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import apsw

from aiops.alerts.finding import isoformat
from aiops.engine.ports import Message
from aiops.service import ledger

FILTERS = ("status", "severity", "rule", "device_id", "site", "cohort")


class Records:
    """The reading half of `aiops.service.control.Control`.

    Each thread reads with a connection of its own and sees what is committed; the thread that has a
    transaction open sees what that has done so far.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: int | None = None
        """The thread that has a transaction open."""
        self._readers = threading.local()
        self._db = apsw.Connection(str(path))

    def records(
        self,
        kind: str,
        filters: dict[str, str],
        *,
        before: int | None,
        limit: int,
        current: bool = False,
    ) -> list[tuple[int, dict[str, Any]]]:
        """Return records of a kind with their numbers, newest first, older than `before`."""
        where, values = ["records.kind = ?"], [kind]
        for name in FILTERS:
            if filters.get(name):
                where.append(f"records.{name} = ?")
                values.append(filters[name])
        joined = " JOIN latest USING(seq)" if current else ""
        if before is not None:
            where.append(f"records.seq < {int(before)}")
        rows = self._read(
            f"SELECT records.seq, body FROM records{joined} WHERE {' AND '.join(where)}"
            f" ORDER BY records.seq DESC LIMIT {int(limit)}",
            values,
        )
        return [(seq, json.loads(body)) for seq, body in rows]

    def record(self, kind: str, id: str) -> dict[str, Any] | None:
        """Return a record by its id, or the newest of a subject; None: there is none."""
        rows = self._read("SELECT body FROM records WHERE kind = ? AND id = ?", (kind, id))
        return json.loads(rows[0][0]) if rows else self.current(kind, id)

    def current(self, kind: str, subject: str) -> dict[str, Any] | None:
        """Return the newest record of a subject, or None."""
        rows = self._read(
            "SELECT body FROM latest JOIN records USING(seq)"
            " WHERE latest.kind = ? AND latest.subject = ?",
            (kind, subject),
        )
        return json.loads(rows[0][0]) if rows else None

    def events(self, after: int, limit: int) -> list[tuple[int, str, str]]:
        """Return number, kind and body of records after the `after`-th, oldest first."""
        return self._read(
            "SELECT seq, kind, body FROM records WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit)
        )

    def last_event(self) -> int:
        """Return the number of the newest record; 0: none."""
        return int(self._read("SELECT coalesce(max(seq), 0) FROM records")[0][0])

    def refused(
        self, filters: dict[str, str], *, before: int | None, limit: int
    ) -> list[tuple[int, dict[str, Any]]]:
        """Return what is in quarantine, newest first."""
        names = ("id", "reason", "device_id", "part", "ts", "metric", "value", "sender", "rows")
        where, values = ["1"], []
        for name in ("reason", "device_id", "sender", "metric"):
            if filters.get(name):
                where.append(f"{name} = ?")
                values.append(filters[name])
        if before is not None:
            where.append(f"seq < {int(before)}")
        rows = self._read(
            f"SELECT seq, {', '.join(names)} FROM quarantine WHERE {' AND '.join(where)}"
            f" ORDER BY seq DESC LIMIT {int(limit)}",
            values,
        )
        return [(seq, dict(zip(names, row, strict=True))) for seq, *row in rows]

    def audit(self, *, before: int | None, limit: int) -> list[tuple[int, dict[str, Any]]]:
        """Return entries of the audit, newest first."""
        names = ("ts", "who", "what", "subject", "said")
        bound = "" if before is None else f"WHERE seq < {int(before)}"
        rows = self._read(
            f"SELECT seq, body, hash FROM audit {bound} ORDER BY seq DESC LIMIT {int(limit)}"
        )
        entries = [
            (seq, dict(zip(names, json.loads(body), strict=True)) | {"hash": digest})
            for seq, body, digest in rows
        ]
        for _, entry in entries:
            entry["ts"] = isoformat(entry["ts"])
        return entries

    def counts(self) -> dict[str, Any]:
        """Return how many findings and incidents are open, by severity, and messages by state."""
        opened = self._read(
            "SELECT latest.kind, coalesce(records.severity, ''), count(*) FROM latest"
            " JOIN records USING(seq) WHERE latest.status = 'firing' GROUP BY 1, 2"
        )
        waiting = self._read("SELECT outlet, state, count(*) FROM outbox GROUP BY 1, 2")
        return {
            "firing": {(kind, severity): n for kind, severity, n in opened},
            "outbox": {(outlet, state): n for outlet, state, n in waiting},
        }

    def firing(self) -> list[Message]:
        """Return the incidents that are open and of which somebody was told."""
        rows = self._read(
            "SELECT id, body FROM latest JOIN records USING(seq)"
            " WHERE latest.kind = 'incidents' AND latest.status = 'firing'"
        )
        records = [(id, json.loads(body)) for id, body in rows]
        return [Message(id, "incident", told, 0) for id, told in records if told.get("paged", True)]

    def audit_broken(self) -> int | None:
        """Return the first entry of the audit that was altered, moved or removed; None: none."""
        return ledger.first_broken(self._read("SELECT seq, body, hash FROM audit ORDER BY seq"))

    def meta(self, name: str) -> str | None:
        """Return a value kept under a name, or None."""
        rows = self._read("SELECT value FROM meta WHERE name = ?", (name,))
        return str(rows[0][0]) if rows else None

    def _read(self, sql: str, values: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        """Read what is committed; within a transaction, also what it has done so far."""
        if self._writer == threading.get_ident():
            return self._db.execute(sql, tuple(values)).fetchall()
        reader = getattr(self._readers, "db", None)
        if reader is None:
            reader = self._readers.db = apsw.Connection(
                str(self._path), flags=apsw.SQLITE_OPEN_READONLY
            )
            reader.set_busy_timeout(10_000)
        return reader.execute(sql, tuple(values)).fetchall()
