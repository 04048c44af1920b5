from __future__ import annotations

import tempfile
from hashlib import blake2b
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from aiops.connectors.durable.log import SegmentedLog
from aiops.engine.ports import LogRecord
from tests.connectors.durable.power_cut import fast_directory

RECORDS = st.lists(
    st.builds(
        LogRecord,
        kind=st.sampled_from(["telemetry", "heartbeat", "label"]),
        body=st.binary(max_size=900),
        recv_ns=st.integers(-5, 50),
        sender=st.sampled_from(["", "press-7", "prüfstand\0"]),
        key=st.sampled_from(["", "a", "b", "\0a", "\N{SNOWMAN}"]),
    ),
    max_size=5,
)


class LogAgainstList(RuleBasedStateMachine):
    """Whatever is done, the log holds what a list holds, less whole segments that were trimmed."""

    def __init__(self) -> None:
        super().__init__()
        self.parent = tempfile.TemporaryDirectory(dir=fast_directory())
        self.list: list[LogRecord] = []
        self.before = 1
        self.open()

    def open(self) -> None:
        self.log = SegmentedLog(Path(self.parent.name), segment_bytes=2_000, ballast_bytes=0)

    @rule(records=RECORDS)
    def append(self, records: list[LogRecord]) -> None:
        for one in records:
            latest = max(one.recv_ns, self.list[-1].recv_ns if self.list else 0)
            self.list.append(one._replace(recv_ns=latest))
        assert self.log.append(records) == len(self.list)

    @rule(share=st.floats(0, 1))
    def read(self, share: float) -> None:
        after = int(share * len(self.list))
        begin = max(after, self.log.oldest - 1)
        expected = list(enumerate(self.list[begin:], begin + 1))
        assert list(self.log.read(after)) == expected

    @rule(share=st.floats(0, 1) | st.just(1.0))
    def trim(self, share: float) -> None:
        before = int(share * len(self.list)) + 1
        self.before = max(self.before, before)
        self.log.trim(before)
        if self.log.newest(1) < before:
            assert self.log.oldest <= before

    @rule(sender=st.sampled_from(["", "press-7"]), key=st.sampled_from(["", "a", "b", "none"]))
    def find(self, sender: str, key: str) -> None:
        expected = [
            (seq, blake2b(one.body, digest_size=16).digest())
            for seq, one in enumerate(self.list, 1)
            if key and (one.sender, one.key) == (sender, key) and seq >= self.log.oldest
        ]
        assert self.log.find(sender, key) == (expected[0] if expected else None)

    @rule()
    def close_and_open(self) -> None:
        self.log.close()
        self.open()

    @rule()
    def kill_and_open(self) -> None:
        self.log._let_go()
        self.open()

    @invariant()
    def is_sound(self) -> None:
        assert self.log.last == len(self.list)
        assert self.log.oldest <= self.before
        assert not self.log.damage

    def teardown(self) -> None:
        assert not self.log.verify()
        self.log.close()
        self.parent.cleanup()


TestLogAgainstList = LogAgainstList.TestCase
TestLogAgainstList.settings = settings(
    max_examples=40,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
