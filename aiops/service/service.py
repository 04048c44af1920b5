"""The service as a whole: what hangs together, and in which order it starts and ends.

::

    HTTP, MQTT ──► admission ──► codec ──► intake ──► durable log ──► (answer)
                                                          │
                                              judge: the engine, in a thread
                                                          │
                                                 control.db ──► outlets, API

"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from typing import Any, NamedTuple

import apsw
import msgspec
import structlog

from aiops.alerts.life import HEARD
from aiops.connectors.durable.group import AnyFuture, GroupCommit, Receipt, Settled, settle
from aiops.connectors.durable.log import SegmentedLog
from aiops.connectors.wire.decoded import Decoded, Refused
from aiops.connectors.wire.limits import Limits
from aiops.engine.engine import Engine
from aiops.engine.ports import LogRecord, Position
from aiops.errors import (
    ActionError,
    Busy,
    CheckpointError,
    KeyReused,
    LogError,
    LogFull,
    PayloadError,
    TooLarge,
)
from aiops.fleet import checkpoint
from aiops.service import ledger
from aiops.service.admission import Admission
from aiops.service.arrivals import Arrival, Arrivals
from aiops.service.control import Control
from aiops.service.dispatcher import Dispatcher
from aiops.service.identity import DemoOperator, Identity
from aiops.service.intake import Intake, Prepared
from aiops.service.judge import Judge, TimedCheckpoint
from aiops.service.keys import KeyStore, Principal
from aiops.service.machine import resident_bytes
from aiops.service.news import News
from aiops.service.outlets import make_outlets
from aiops.service.paths import Paths
from aiops.service.rehearsal import make_engine
from aiops.service.settings import Settings
from aiops.service.warm import warm

PRUNE_S = 600.0
"""How often old records are forgotten."""
DECODERS = 2
"""Threads that decode; what they run holds the interpreter's lock for most of its time."""
SAID_BYTES = 64 << 10
"""What a person does is that long at most: a page of what people did has a thousand."""
BEHIND_S = 60.0
"""A clock that is set back further is worth a word: the log's time does not go back."""
logger = structlog.get_logger("aiops.service")


class Taken(NamedTuple):
    """What became of a payload."""

    rows: int
    refused: tuple[Refused, ...]
    decoded: Decoded
    seq: int
    """Of its record in the log; 0: nothing was left to write."""
    duplicate: bool


def key_of(body: bytes) -> str:
    """Return the idempotency key of telemetry whose sender gave none: a digest of its frames.

    Who heard no answer sends the same again; then it is the same frames, and they are taken once.
    Readings that came without a time never are: they have the time at which they came.
    """
    # Processors have instructions for SHA-256.
    return f"body:{sha256(body).hexdigest()}"


class Service:
    """Everything behind the HTTP API.

    Parameters
    ----------
    settings
        What it is told.
    demo
        The operator of a demo on loopback; None: there is none.
    on_broken
        Called, from any thread, when the log can promise nothing any more: the process must end.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        demo: DemoOperator | None = None,
        on_broken: Callable[[BaseException], None] = lambda error: None,
    ) -> None:
        self.settings = settings
        self.paths = Paths(settings.data)
        settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.keys = KeyStore(self.paths.keys)
        certificates = settings.listen.client_ca is not None
        self.identity = Identity(self.keys, demo=demo, client_certs=certificates)
        self.limits = Limits(settings.bounds.body_bytes, settings.bounds.unpacked_bytes)
        self.admission = Admission(settings.bounds.in_flight_bytes)
        self.intake = Intake(settings.bounds, settings.engine.columns)
        self.decoders = ThreadPoolExecutor(DECODERS, "decode")
        told = settings.engine
        self.engine = make_engine(settings)
        log = settings.log
        self.log = SegmentedLog(
            self.paths.log,
            segment_bytes=log.segment_bytes,
            retain_bytes=2 * log.retain_bytes + log.backlog_bytes,
            ballast_bytes=log.ballast_bytes,
        )
        self.commit = GroupCommit(
            self.log,
            group_bytes=log.group_bytes,
            queue_bytes=log.queue_bytes,
            settle=self._settle,
            on_broken=on_broken,
        )
        self.outlets = make_outlets(settings, self.paths.signer)
        self.control = Control(
            self.paths.control,
            self.outlets,
            automatic=frozenset(settings.actions.automatic),
            halted=self.halted,
        )
        saving = TimedCheckpoint(
            self.paths.state,
            told.checkpoint_rows,
            told.checkpoint_s,
            self._saved,
            lambda: self.log.bytes_on_disk > log.retain_bytes,
        )
        self.judge = Judge(self.engine, self.log, [self.control], saving, self._hear)
        self.dispatcher = Dispatcher(
            self.control.pending,
            self.control.delivered,
            self.control.failed,
            self.outlets,
            firing=self.control.firing,
            may_leave=lambda message: self.control.may_leave(message, time.time_ns()),
        )
        self.warm = threading.Event()
        self.started_s = time.monotonic()
        self.changed = News()
        self.control.on_commit = self._committed
        self.answers: dict[str, tuple[int, asyncio.Future[Any]]] = {}
        """What the engine was asked last, with the record of the log after which."""
        self.arrivals = Arrivals()
        """What came lately, by protocol."""
        self.errors: Counter[tuple[str, int]] = Counter()
        """Requests answered with an error, by route and status."""
        self.brokers: dict[str, threading.Event] = {}
        """Brokers that are listened to, and whether they are reached and let us."""
        self.streams = 0
        """Streams of events that are open."""
        self.ending = False
        """Set when streams are to end."""
        self._stopping = threading.Event()
        self._beats = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._last_record_s = time.monotonic()
        self._free_bytes = (0.0, 0)
        self._memory_bytes = (0.0, 0)

    # Starting and ending -------------------------------------------------------------------------

    def start(self) -> None:
        """Restore the state and begin to judge; returns at once, and `ready` says when it is."""
        self.log.continue_after(self._known_seq())
        self.judge.start(goal=self.log.last)
        self.dispatcher.start()
        self._beats.start()
        threading.Thread(target=self._warm, name="warm", daemon=True).start()

    def _known_seq(self) -> int:
        """Return the last number of the log that something beside it knows to be given out.

        Were it given out again, what it then names would be taken for known, and be lost.
        """
        position = self.control.meta("position")
        known = [0 if position is None else msgspec.json.decode(position)["seq"]]
        known.append(int(self.control.meta("heard") or 0))
        with suppress(CheckpointError):  # the engine will say so
            saved = checkpoint.load_values(self.paths.state)
            known.append(0 if saved is None else saved["position"]["seq"])
        return max(known)

    def _warm(self) -> None:
        warm(self.engine.given, self.limits, self.engine.watch)
        self.warm.set()

    @property
    def ready(self) -> str:
        """Say what is missing until requests are answered in time; empty: nothing."""
        if self.judge.failure is not None:
            return "the engine stopped; the service's log says why"
        if self.judge.full:
            return "the engine waits for room on the disk"
        if self.behind_s > BEHIND_S:
            return (
                f"the clock is {self.behind_s:.0f} s behind the newest record: until then all that "
                f"comes is late. Set it; if it was ahead, move log and state.npz away"
            )
        if not self.judge.caught_up.is_set():
            return f"replaying the log: {self.judge.seq} of {self.log.last} records"
        if not self.warm.is_set():
            return "compiling kernels"
        return ""

    def stop(self) -> None:
        """End in order: what was accepted is committed, judged as far as there is time, and saved.

        What is not judged by then is at the next start. What outlets take is noted until the end.
        """
        self._stopping.set()
        self.commit.close()
        self.dispatcher.stop()
        try:
            self.judge.stop()
        except TimeoutError as error:  # it may hold any lock: the process ends without it
            logger.warning("the state is not saved", because=str(error))
            return
        self.decoders.shutdown(cancel_futures=True)
        try:
            self.control.close()
        except apsw.FullError as error:
            logger.warning("what was refused last is not kept", because=str(error))
        self.log.close()

    def _committed(self) -> None:
        self.changed.announce()
        self.dispatcher.wake()

    def _saved(self, position: Position) -> None:
        """Forget what lies before a checkpoint, as far as there is more than is to be kept."""
        self.judge.reached(position["seq"])
        before = self.log.newest(self.settings.log.retain_bytes)
        self.log.trim(min(before, position["seq"] + 1))

    # Taking telemetry ----------------------------------------------------------------------------

    async def take(
        self,
        who: Principal,
        decode: Callable[[], tuple[Decoded, bytes | None]],
        protocol: str,
        key: str = "",
    ) -> Taken:
        """Decode a payload, make it durable, and return what became of it.

        `decode` runs in another thread; beside the frames it returns the payload itself where
        that is a frame of the log already. Without a `key` what the payload holds is its key.

        Raises
        ------
        PayloadError, TooLarge
            It cannot be read.
        Busy, LogFull
            It can be sent again later.
        LogError
            The log is broken; nothing is acknowledged any more.
        """
        self.check_room()
        loop = asyncio.get_running_loop()
        decoded, prepared, key = await loop.run_in_executor(
            self.decoders, self._prepare, who, decode, key
        )
        if not prepared.body:
            return Taken(0, prepared.refused, decoded, 0, False)
        record = LogRecord("telemetry", prepared.body, time.time_ns(), who.name, key)
        try:
            seq, duplicate = await self._durable(record)
        except PayloadError as error:
            raise KeyReused(str(error)) from error
        if not duplicate:
            self.arrivals.note(protocol, Arrival(record.recv_ns, seq, prepared.rows))
        return Taken(prepared.rows, prepared.refused, decoded, seq, duplicate)

    def _prepare(
        self, who: Principal, decode: Callable[[], tuple[Decoded, bytes | None]], key: str
    ) -> tuple[Decoded, Prepared, str]:
        decoded, original = decode()
        prepared = self.intake.prepare(who, decoded, original)
        now = time.time_ns()
        for one in prepared.refused:
            self.control.set_aside(one.reason, who.name, one.count, one.example, at_ns=now)
        if prepared.error is not None:
            raise prepared.error
        return decoded, prepared, key or key_of(prepared.body)

    async def _durable(self, record: LogRecord) -> Receipt:
        """Put a record into the log; return its receipt once the disk has it."""
        future = asyncio.get_running_loop().create_future()
        self.submit(record, future)
        receipt: Receipt = await future
        return receipt

    def submit(self, record: LogRecord, future: AnyFuture | None = None) -> AnyFuture:
        """Put a record into the log; the future has its receipt once the disk has it."""
        return self.commit.submit(record, future)

    def _settle(self, settled: Sequence[Settled]) -> None:
        """Tell those who wait for a group: in their event loop, all of one loop at once."""
        self.judge.wake()
        if any(isinstance(one, Receipt) and not one.duplicate for _, one in settled):
            self._last_record_s = time.monotonic()
        loops: dict[asyncio.AbstractEventLoop | None, list[Settled]] = {}
        for one in settled:
            waiting = one[0]
            loop = waiting.get_loop() if isinstance(waiting, asyncio.Future) else None
            loops.setdefault(loop, []).append(one)
        for loop, some in loops.items():
            if loop is None:
                settle(some)
            else:
                loop.call_soon_threadsafe(settle, some)

    def check_room(self) -> None:
        """Raise `Busy` or `LogFull` if nothing more may be taken now."""
        bounds = self.settings.log
        free = self.free_bytes
        if free < bounds.stop_free_bytes:
            raise LogFull(f"the disk has {free >> 20} MiB left; nothing is taken")
        if free < bounds.shed_free_bytes:
            raise Busy(f"the disk has {free >> 20} MiB left", retry_after_s=30.0)
        if self.backlog_bytes > bounds.backlog_bytes:
            raise Busy("the engine is behind", retry_after_s=5.0)
        held = self.memory_bytes
        if held > self.settings.bounds.memory_bytes:
            raise Busy(f"the service holds {held >> 20} MiB of memory", retry_after_s=5.0)

    @property
    def memory_bytes(self) -> int:
        """Memory held, looked at a few times a second; 0 where the system does not say."""
        now = time.monotonic()
        if now - self._memory_bytes[0] >= 0.2:
            self._memory_bytes = (now, resident_bytes())
        return int(self._memory_bytes[1])

    @property
    def backlog_bytes(self) -> int:
        """About how much of the log waits to be judged."""
        held = self.log.last - self.log.oldest + 1
        return int(self.log.bytes_on_disk * (self.log.last - self.judge.seq) / max(held, 1))

    @property
    def behind_s(self) -> float:
        """By how much the clock lies before the newest record of the log."""
        return (self.log.recv_ns - time.time_ns()) / 1e9

    @property
    def unsaved_s(self) -> float:
        """How long ago the engine's state was saved; before the first time, since the start."""
        try:
            return max(0.0, time.time() - self.paths.state.stat().st_mtime)
        except FileNotFoundError:
            return time.monotonic() - self.started_s

    @property
    def free_bytes(self) -> int:
        """Room on the disk, looked at once a second."""
        now = time.monotonic()
        if now - self._free_bytes[0] >= 1.0:
            found = os.statvfs(self.paths.data)
            self._free_bytes = (now, found.f_bavail * found.f_frsize)
        return int(self._free_bytes[1])

    def _beat(self) -> None:
        """Write heartbeats while everybody is silent: epochs close, and replay sees them too."""
        every_s = float(self.settings.engine.epoch_s)
        prune_s = time.monotonic() + PRUNE_S
        while not self._stopping.wait(min(every_s, 1.0)):
            self._in_peace(self.control.flush)
            if time.monotonic() >= prune_s:
                prune_s = time.monotonic() + PRUNE_S
                self._in_peace(self.control.prune)
            if time.monotonic() - self._last_record_s < every_s:
                continue
            self._last_record_s = time.monotonic()  # they do not pile up while nothing is written
            try:
                self.submit(LogRecord("heartbeat", b"", time.time_ns()))
            except LogFull as error:
                logger.warning("no heartbeat", because=str(error))
            except LogError:
                return

    def _in_peace(self, work: Callable[[], None]) -> None:
        """Do what can wait, such as showing soon what was refused at the door."""
        try:
            work()
        except apsw.Error as error:
            logger.warning("control.db waits", because=str(error))

    # What people say -----------------------------------------------------------------------------

    async def say(self, kind: str, who: Principal, said: dict[str, Any], key: str = "") -> int:
        """Write what a person did into the log; return its number once it has taken effect.

        Raises
        ------
        PayloadError
            It holds what JSON has no way to tell, such as half a character.
        TooLarge
            It has more than `SAID_BYTES`.
        ActionError
            It is a proposal of what must not be.
        """
        now = time.time_ns()
        try:
            body = msgspec.json.encode(said)
            heard = msgspec.json.decode(body)
        except (ValueError, RecursionError, msgspec.MsgspecError) as error:
            raise PayloadError(f"this cannot be kept as JSON: {error}") from error
        if kind == "proposal":  # what the engine could not hear does not go into the log
            ledger.proposed(heard, who.name, now)
        if len(body) > SAID_BYTES:
            raise TooLarge(f"this has {len(body)} bytes of JSON; {SAID_BYTES} are taken: say less")
        record = LogRecord(kind, body, now, who.name, key)
        seq, _ = await self._durable(record)
        for _ in range(500):
            if self.judge.seq >= seq or self.judge.failure is not None:
                break
            await asyncio.sleep(0.02)
        return seq

    def _hear(self, engine: Engine, number: int, record: LogRecord) -> None:
        """Take what a person did, in its place in the log."""
        if record.kind != "proposal":
            self._keep(number, record)
            said = msgspec.json.decode(record.body)
            if record.kind in ("label", "feedback"):
                engine.feedback.heard(record.kind, said, record.sender, record.recv_ns)
            elif record.kind in HEARD:
                engine.life.heard(record.kind, said, record.sender, record.recv_ns)
            elif record.kind == "rejection":
                rejected = self.control.action(said["action_id"])
                if rejected is not None and rejected["state"] == "rejected":
                    engine.withdraw(rejected)
            return
        said = msgspec.json.decode(record.body)
        try:
            action = ledger.proposed(said, record.sender, record.recv_ns)
        except ActionError as error:  # of an older version: it stops no replay
            told = msgspec.json.encode({"kind": said["kind"], "refused": str(error)[:1000]})
            self._keep(number, record._replace(kind="proposal refused", body=told))
            return
        verdicts = [
            verdict.to_record()
            | ({"proposed_by": record.sender} if verdict.action.id == action.id else {})
            for verdict in engine.propose([action], record.recv_ns)
        ]
        body = msgspec.json.encode(verdicts, enc_hook=lambda value: value.item())
        self._keep(number, record._replace(body=body))

    def _keep(self, number: int, record: LogRecord) -> None:
        """Put what a person did into control.db; what the engine made of it is made once."""
        self.judge.patiently(lambda: self.control.hear(number, record))

    def now_ns(self) -> int:
        """Return the time by which people's decisions are judged, ns."""
        return time.time_ns()

    # The halt switch -----------------------------------------------------------------------------

    def halted(self) -> bool:
        """Say whether the halt switch is on."""
        return self.paths.halt.exists()

    def halt(self, who: str, on: bool) -> None:
        """Turn the halt switch on or off: a file, so that it works when all else is down."""
        if on:
            self.paths.halt.write_text(f"{who}\n", encoding="utf-8")
        else:
            self.paths.halt.unlink(missing_ok=True)
        self.control.note(time.time_ns(), who, "halt" if on else "resume", "", "")
