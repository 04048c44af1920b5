from __future__ import annotations

import pytest

from aiops.errors import AiopsError, CheckpointError, FileError, LogError, StateMismatch
from aiops.service.problem import refusal_of

PLACE = "/var/lib/aiops"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (FileError(f"keys {PLACE}/keys.json: Permission denied"), 500),
        (LogError(f"the log in {PLACE}/log takes nothing more: it is closed"), 503),
        (CheckpointError(f"{PLACE}/state.npz: cannot be read"), 500),
        (StateMismatch(f"{PLACE}: of another version"), 500),
    ],
)
def test_no_answer_says_where_our_files_are(error: AiopsError, status: int) -> None:
    found = refusal_of(error)
    assert found.status == status
    assert PLACE not in found.detail
