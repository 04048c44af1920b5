from __future__ import annotations

import random

import numpy as np
import pytest

from aiops.kernels.remote_write import (
    CHUNK,
    cut,
    distinct,
    fill,
    find,
    gather,
    hashed,
    intern,
    keep,
    rehash,
)
from tests.kernels.interning import KEY, interned

SAME_HASH = np.zeros(CHUNK + 1, np.int64)
"""With this key everything collides."""


def numbered(known, n: int, strings: list[bytes]) -> tuple[int, list[int]]:
    data = np.frombuffer(b"".join(strings) + b"?", np.uint8)
    end = np.cumsum([0, *map(len, strings)])
    ids = np.zeros(len(strings), np.int32)
    n = intern(known, n, data, np.stack((end[:-1], end[1:]), 1), ids)
    return n, ids.tolist()


def found(known, strings: list[bytes]) -> list[int]:
    return [find(known, np.frombuffer(s + b"?", np.uint8), 0, len(s)) for s in strings]


@pytest.mark.parametrize("key", [KEY, SAME_HASH], ids=["random", "collisions"])
def test_strings_have_the_numbers_a_dictionary_gives_them(key):
    draw = random.Random(3)
    pool = [draw.randbytes(draw.randrange(5)) for _ in range(40)]
    known = interned(200, 2000)._replace(key=key)
    expected: dict[bytes, int] = {}
    n = 0
    for turn in range(30):
        some = draw.sample(pool, 8) if turn % 3 else pool[:8]
        before = dict(expected)
        expected_ids = [expected.setdefault(s, len(expected)) for s in some]
        after, ids = numbered(known, n, some)
        assert (after, ids) == (len(expected), expected_ids)
        if turn % 4 == 1:  # forget what came last
            cut(known, after, n)
            expected = before
        elif turn % 7 == 6:
            kept = np.array([draw.random() < 0.7 for _ in range(after)])
            place = np.zeros(after, np.int32)
            n = keep(known, after, kept, place)
            known.slot[:] = 0
            rehash(known, n)
            fill(known, n)
            names = [s for s, k in expected.items() if kept[k]]
            assert [place[expected[s]] for s in names] == list(range(n))
            assert (place >= 0).tolist() == kept.tolist()
            expected = {s: k for k, s in enumerate(names)}
        else:
            n = after
        assert found(known, pool) == [expected.get(s, -1) for s in pool]


def test_long_strings_differ_by_any_byte():
    long = bytes(3 * CHUNK)
    other = [long[:at] + b"x" + long[at + 1 :] for at in (0, CHUNK - 1, CHUNK, 3 * CHUNK - 1)]
    strings = [long, long[:-1], *other]
    hashes = {hashed(np.frombuffer(s, np.uint8), 0, len(s), KEY) for s in strings}
    assert len(hashes) == len(strings)
    assert all(0 <= h < 2**31 for h in hashes)
    known = interned(8, 20 * CHUNK)
    assert numbered(known, 0, strings + strings) == (6, [*range(6), *range(6)])


def test_codes_become_numbers_in_order_of_appearance():
    code = np.array([7, -1, 3, 7, 3, 0, -2], np.int32)
    place, spread, value = (np.zeros(n, np.int32) for n in (8, 7, 7))
    for _ in range(2):  # it leaves nothing behind
        assert distinct(code, place, spread, value) == 3
        assert spread.tolist() == [0, -1, 1, 0, 1, 2, -1]
        assert value[:3].tolist() == [7, 3, 0]


def test_strings_are_gathered():
    known = interned(3, 10)
    numbered(known, 0, [b"ab", b"", b"cde"])
    text = np.zeros(7, np.uint8)
    gather(known, np.array([0, 2, 1, 0], np.int32), text)
    assert text.tobytes() == b"abcdeab"
