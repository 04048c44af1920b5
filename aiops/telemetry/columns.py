"""Columns of any Arrow type, read as numbers or as names. Nothing here raises for what it finds."""

from __future__ import annotations

import hashlib
import math
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, Generic, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from aiops.kernels.rows import B1, F8, I4
from aiops.telemetry.normalised import Encoded

V = TypeVar("V")

TEXT_MAX = 120
"""Longest text kept of a value that was set aside."""


def whole(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array, without views, run lengths and extensions."""
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        chunks = [chunk.storage for chunk in column.chunks]
        return whole(pa.chunked_array(chunks, kind.storage_type))
    if types.is_run_end_encoded(kind):
        chunks = [pc.run_end_decode(chunk) for chunk in column.chunks]
        return whole(pa.chunked_array(chunks, kind.value_type))
    if types.is_string_view(kind) or types.is_binary_view(kind):
        plain = pa.large_string() if types.is_string_view(kind) else pa.large_binary()
        column = column.cast(plain)
    if types.is_dictionary(kind):
        column = column.unify_dictionaries()
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def column_of(table: pa.Table, name: str) -> pa.Array:
    """Return a column of a table as one array; of several with one name the first."""
    return whole(table.column(table.schema.get_all_field_indices(name)[0]))


def is_text(kind: pa.DataType) -> bool:
    """Say whether a column of this type holds texts."""
    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def is_numeric(kind: pa.DataType) -> bool:
    """Say whether a column of this type holds numbers, or yes and no."""
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        kind = kind.value_type
    return bool(
        types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_decimal(kind)
        or types.is_boolean(kind)
    )


# Numbers -----------------------------------------------------------------------------------------


def read_numbers(
    array: pa.Array, parse: Callable[[str], float] | None = None
) -> tuple[F8, B1 | None]:
    """Return values [n], NaN where null, and a mask [n] of what is no number (None: nothing)."""
    kind = array.type
    if types.is_float64(kind):
        return array.to_numpy(zero_copy_only=False), None
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return pc.cast(array, pa.float64(), safe=False).to_numpy(zero_copy_only=False), None
    if types.is_boolean(kind):
        return read_numbers(array.cast(pa.int8()))
    if types.is_dictionary(kind):
        values, wrong = read_numbers(whole(pa.chunked_array([array.dictionary])), parse)
        code = codes_of(array.indices)
        return _gather(values, wrong, code)
    if types.is_string(kind) or types.is_large_string(kind):
        return _read_texts(array, parse or number)
    return np.full(len(array), np.nan), pc.is_valid(array).to_numpy(zero_copy_only=False)


def codes_of(indices: pa.Array) -> I4:
    """Return dictionary indices [n] as int32; -1 where null."""
    if indices.null_count:
        indices = indices.cast(pa.int64()).fill_null(-1)
    codes: I4 = indices.to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
    return codes


def _gather(values: F8, wrong: B1 | None, code: I4) -> tuple[F8, B1 | None]:
    """Spread values and mask [k] of distinct entries over the rows that hold them [n]."""
    spread = np.append(values, np.nan)[code]
    if wrong is None or not wrong.any():
        return spread, None
    return spread, np.append(wrong, False)[code]


_DECIMAL = r"^-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?$"
"""What Arrow reads exactly as Python does, and much faster."""


def _read_texts(array: pa.Array, parse: Callable[[str], float]) -> tuple[F8, B1 | None]:
    """Read plain decimals at once, and each distinct other text by itself."""
    plain = pc.match_substring_regex(array, _DECIMAL).fill_null(True)
    odd = np.flatnonzero(~plain.to_numpy(zero_copy_only=False))
    if not len(odd):
        return pc.cast(array, pa.float64()).to_numpy(zero_copy_only=False), None
    decimals = pc.if_else(plain, array, pa.scalar(None, array.type))
    values = pc.cast(decimals, pa.float64()).to_numpy(zero_copy_only=False)
    encoded = array.take(pa.array(odd)).dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    read = np.array([_attempt(parse, text) for text in texts], np.float64)
    values[odd] = read[codes_of(encoded.indices)]
    wrong = values == _NOT_A_NUMBER
    return values, wrong if wrong.any() else None


_NOT_A_NUMBER = float("-1.7976931348623157e308")
"""Stands for a text that is no number, where NaN already means *not reported*."""

_HEX = re.compile(r"[+-]?0[xX][0-9a-fA-F]+")
_ABSENT = frozenset({"", "nan", "null", "none", "na", "n/a", "-"})


def _attempt(parse: Callable[[str], float], text: str) -> float:
    if text.strip().lower() in _ABSENT:
        return math.nan
    try:
        return parse(text)
    except (ValueError, OverflowError):
        return _NOT_A_NUMBER


def number(text: str) -> float:
    """Return the number a text spells, decimal or hexadecimal."""
    text = text.strip()
    if "_" in text:
        raise ValueError(text)
    return float(int(text, 16)) if _HEX.fullmatch(text) else float(text)


def largest(text: str) -> float:
    """Return the largest of the numbers in a text, like ``0x02 0x01``."""
    return max(number(word) for word in re.split(r"[\s,]+", text.strip()))


# Names -------------------------------------------------------------------------------------------


def read_names(array: pa.Array) -> Encoded:
    """Return a column of names as codes; numbers are spelt out, what has no name becomes ""."""
    kind = array.type
    if types.is_null(kind):
        return Encoded(np.full(len(array), -1, np.int32), ())
    if types.is_dictionary(kind) and len(array.dictionary) > 2 * len(array) + 64:
        # A slice of something large: most of the dictionary is about other rows.
        array = whole(pa.chunked_array([array.dictionary_decode()]))
        kind = array.type
    if not types.is_dictionary(kind):
        if types.is_nested(kind) or types.is_interval(kind):
            code = np.where(pc.is_valid(array).to_numpy(zero_copy_only=False), 0, -1)
            return Encoded(code.astype(np.int32), ("",))
        array = array.dictionary_encode()
    code, entries = codes_of(array.indices), whole(pa.chunked_array([array.dictionary]))
    if not (types.is_string(entries.type) or types.is_large_string(entries.type)):
        return _distinct(code, [_name(scalar) for scalar in entries])
    return _spelt(code, entries)


NAMES_REMEMBERED = 1 << 20
"""Names in the lists that are handed out again."""


class Remembered(Generic[V]):
    """What was worked out lately, up to a bound; safe to use from several threads.

    A live stream sends the same names with every frame; spelling them out and looking them up
    again would be most of the cost of reading it.

    Parameters
    ----------
    most
        Names that are remembered, or whatever else sizes count.
    """

    def __init__(self, most: int = NAMES_REMEMBERED) -> None:
        self.most = most
        self._found: OrderedDict[object, tuple[V, int, object]] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def get(self, key: object) -> V | None:
        """Return what was put under a key, or None."""
        with self._lock:
            found = self._found.get(key)
            if found is None:
                return None
            self._found.move_to_end(key)
            return found[0]

    def put(self, key: object, value: V, size: int, held: object = None) -> None:
        """Remember a value, and forget those not used for longest if that is too much.

        `held` lives as long as it is remembered: of a list, the key may be its ``id``.
        """
        with self._lock:
            before = self._found.pop(key, None)
            self._size += size - (0 if before is None else before[1])
            self._found[key] = value, size, held
            while self._size > self.most and len(self._found) > 1:
                _, (_, forgotten, _) = self._found.popitem(last=False)
                self._size -= forgotten


_SPELT: Remembered[list[str]] = Remembered()


def _spelt(code: I4, entries: pa.Array) -> Encoded:
    """Return a column of codes into `entries`, which are strings, with its names."""
    if entries.null_count:  # a fingerprint does not see them
        return _distinct(code, entries.to_pylist())
    key = fingerprint(entries)
    names = _SPELT.get(key)
    if names is None:
        names = entries.to_pylist()
        if len(set(names)) < len(names):
            return _distinct(code, names)
        _SPELT.put(key, names, len(names))
    return Encoded(code, names)


def fingerprint(strings: pa.Array) -> tuple[int, int, int]:
    """Return what tells arrays of strings without nulls apart: hashes of lengths and letters.

    Python's own hash of bytes is SipHash with a key that each process draws: fast, and nobody
    outside can make two arrays alike.
    """
    wide = types.is_large_string(strings.type)
    n, start = len(strings), strings.offset
    _, bounds, letters = strings.buffers()
    if not n:
        return 0, 0, 0
    # Of a strange sender the buffer may be longer than what is told of it, by any number of bytes.
    kind = np.dtype(np.int64 if wide else np.int32)
    ends = np.frombuffer(bounds, kind, n + 1, start * kind.itemsize)
    said = b"" if letters is None else bytes(memoryview(letters)[int(ends[0]) : int(ends[-1])])
    return n, hash(np.diff(ends).tobytes()), hash(said)


def _name(scalar: pa.Scalar) -> str | None:
    """Return an entry as a name. A whole number has one name, whatever type carries it."""
    value = _python(scalar)
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return None if value is None else str(value)


def respelt(names: Encoded, spell: Callable[[str], str]) -> Encoded:
    """Return names spelt otherwise."""
    return _distinct(names.code, [spell(value) for value in names.value])


def _distinct(code: I4, values: Sequence[str | None]) -> Encoded:
    """Return codes into distinct names; what has no name becomes -1."""
    place: dict[str, int] = {}
    target = np.array(
        [-1 if value is None else place.setdefault(value, len(place)) for value in values] + [-1],
        dtype=np.int32,
    )
    return Encoded(target[code], list(place))


@lru_cache(maxsize=1 << 17)
def identity_code(name: str) -> float:
    """Return a number that stands for a name: 52 bits of its BLAKE2b hash, exact in a float.

    A function of the name alone, so that it does not depend on what came before. Cached because
    a fleet repeats its boot ids with every report.
    """
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=7).digest()
    return float(int.from_bytes(digest) >> 4)


def identities(names: Encoded) -> F8:
    """Return a number [n] for each name; NaN where there is none."""
    code, values = names
    numbers = [identity_code(value) if value else math.nan for value in values]
    return np.array([*numbers, math.nan])[code]


# Words -------------------------------------------------------------------------------------------


def word(words: Mapping[str, float]) -> Callable[[str], float]:
    """Return a reader that knows what `words` mean, in any case; shell patterns may be among them.

    A word counts before a pattern, and of patterns the first that matches.
    """
    plain = {known.casefold(): value for known, value in words.items()}
    patterns = [known for known in plain if set(known) & set("*?[")]

    def read(text: str) -> float:
        said = text.strip().casefold()
        if said not in plain:
            said = next((pattern for pattern in patterns if fnmatchcase(said, pattern)), said)
        if said not in plain:
            raise ValueError(text)
        return plain[said]

    return read


def word_or_number(words: Mapping[str, float]) -> Callable[[str], float]:
    """Return a reader of words, as `word`, and of numbers."""
    read_word = word(words)

    def read(text: str) -> float:
        try:
            return read_word(text)
        except ValueError:
            return number(text)

    return read


def read_words(array: pa.Array, words: Mapping[str, float]) -> tuple[F8, B1 | None]:
    """Return what words mean [n], NaN where null, and a mask [n] of what is none of them."""
    code, names = read_names(array)
    read = word(words)
    values = np.array([_attempt(read, name) for name in names], np.float64)
    wrong = values == _NOT_A_NUMBER
    return _gather(values, wrong, code)


# Text --------------------------------------------------------------------------------------------


def texts(array: pa.Array) -> pa.Array:
    """Return what each entry of a column looks like, for people."""
    kind = array.type
    if types.is_primitive(kind) and not types.is_temporal(kind):
        return pc.cast(array, pa.string())
    return pa.array([_look(scalar) for scalar in array], pa.string())


def _look(scalar: pa.Scalar) -> str | None:
    value = _python(scalar)
    if value is None:
        return None
    text = value if isinstance(value, str) else repr(value)
    text = text.encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 3] + "..."


def _python(scalar: pa.Scalar) -> Any:
    """Return a scalar as Python sees it; what Python cannot hold (the year 200000) by its type."""
    try:
        return scalar.as_py()
    except (ValueError, OverflowError, ArithmeticError, NotImplementedError, pa.ArrowException):
        return f"<{scalar.type}>"
