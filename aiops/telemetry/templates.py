"""Log lines to templates: Drain with one configuration, bounded, its state plain values.

Source: He, Zhu, Zheng and Lyu, "Drain: an online log parsing approach with fixed depth tree", ICWS
2017, doi:10.1109/ICWS.2017.13. Three things differ: the masks are the same for every system, where
the published figures use expressions of each system's own; a line that looks like one seen before
(once masked) is looked up and not compared; and some words are never taken for one another.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aiops.kernels.rows import I4
from aiops.telemetry.columns import codes_of

ANY = "<*>"
"""Stands in a template for what varies."""
OTHER = 0
"""The template of lines for which there was no room."""
TEMPLATES_MAX = 2048
LEAF_MAX = 32
"""Templates that begin alike and are equally long; with so many, no word is a constant any more."""
CHILDREN_MAX = 100
"""Words that a line's next word is told apart by; beyond, it is taken for one that varies."""
TOKENS_MAX = 64
LINE_MAX = 1024
"""Characters; the rest of a line is not looked at."""
KNOWN_MAX = 1 << 14
"""Masked lines that are remembered; when there are more, all of them are forgotten."""
EXAMPLE_MAX = 160
"""Characters of a template, or of its example, that are told."""
DEPTH = 2
"""First words of a line that must be alike, unless they vary."""
SIMILAR = 0.5
"""Share of a line's words that must be those of the template."""
WORDS_MAX = 1
"""Plain words in which a line may differ from a template: with more it says something else."""

MASK = "|".join(
    (
        r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}",  # UUID
        r"(?:[0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}",  # MAC
        r"(?:/[\w.$%@~+:-]+){2,}/?",  # path
        r"\b[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)+:[0-9]+\b",  # host and port
        r"[0-9]+(?::[0-9]+)+",  # clock
        r"[<>]?[0-9]+(?:\.[0-9]+)? ?(?:[kKMGT]i?B|bytes|ms|secs?|seconds|s|min|h)\b",  # with a unit
        r"\b0[xX][0-9a-fA-F]+\b",
        r"\b[0-9a-fA-F]*[0-9][0-9a-fA-F]*\b",  # number, or hex
        r"\b[0-9a-fA-F]{8,}\b",
        r"-?[0-9]+(?:[.,][0-9]+)*",
    )
)
"""What varies whatever wrote the line (RE2). Alternatives are tried in this order."""
RESTATED = r"<\*> ?\(<\*>\)"
"""A quantity in other units in parentheses: ``1189 bytes (1.16 KB)``."""
LIST = r"<\*>(?:[,;:./ _-]*<\*>)+"

_PUNCTUATION = ",;.:()[]{}'\""
_LETTERS = re.compile(r"[A-Za-z]+")
_WORD = re.compile(r"[A-Za-z][A-Za-z'-]*")
_CAPITALS = re.compile(r"[A-Z]{2,}")

Key = tuple[str, ...]
"""Scope, number of words and first words, which lead to a leaf."""


class Templates:
    """The templates of a fleet's log lines. What it has learnt is `save`d as plain values.

    What comes of lines depends on the set of lines given at once and on those given before, never
    on the order within a call. Lines of one scope (a cohort) are not compared with another's.
    """

    def __init__(self) -> None:
        self.tokens: list[tuple[str, ...]] = [(ANY,)]
        """Words of each template; of what varies `ANY`."""
        self.keys: list[Key] = [()]
        """Where in the tree each template is."""
        self.examples: list[str] = [""]
        """Of the first lines of each template the first in order of letters, as it may be shown."""
        self.counts: Counter[str] = Counter()
        """Lines ``lines``, and ``other``: those for which there was no room."""
        self._known: dict[str, dict[str, int]] = {}
        self._leaves: dict[Key, list[int]] = {}
        self._children: dict[Key, set[str]] = {}

    def __len__(self) -> int:
        return len(self.tokens)

    def text(self, template: int) -> str:
        """Return a template as one line."""
        return " ".join(self.tokens[template])

    def quote(self, template: int) -> str:
        """Return a template and an example of it, for people."""
        example = self.examples[template]
        said = f"The line: “{shown(self.text(template))}”"
        return f"{said}, as in “{example}”." if example else f"{said}."

    def assign(self, lines: pa.Array, scope: I4 | None = None, scopes: Sequence[str] = ()) -> I4:
        """Return the template [n] of each line, learning those that are new.

        Parameters
        ----------
        lines
            [n] strings without nulls.
        scope
            [n] code of each line's scope in `scopes`, -1 for none; None: none of them has any.
        """
        out = np.zeros(len(lines), dtype=np.int32)
        if scope is None:
            scope = np.full(len(lines), -1, dtype=np.int32)
        present = np.unique(scope).tolist()
        for name, code in sorted(("" if c < 0 else scopes[c], c) for c in present):
            at = np.flatnonzero(scope == code)
            some = lines if len(at) == len(lines) else lines.take(pa.array(at))
            out[at] = self._of_scope(name, some)
        self.counts["lines"] += len(lines)
        self.counts["other"] += int(np.count_nonzero(out == OTHER))
        return out

    def _of_scope(self, scope: str, lines: pa.Array) -> I4:
        raw = lines.dictionary_encode()
        masked = masks(raw.dictionary).dictionary_encode()
        texts = masked.dictionary.to_pylist()
        known = self._known.setdefault(scope, {})
        if sum(map(len, self._known.values())) + len(texts) > KNOWN_MAX:
            self._known = {scope: (known := {})}
        before = len(self.tokens)
        for text in sorted(text for text in texts if text not in known):
            known[text] = self._match(scope, text.split())
        of_text = np.fromiter(map(known.__getitem__, texts), np.int32, len(texts))
        of_raw: I4 = of_text[codes_of(masked.indices)]
        if len(self.tokens) > before:
            self._exemplify(before, of_raw, raw.dictionary)
        return of_raw[codes_of(raw.indices)]

    def _exemplify(self, start: int, template: I4, lines: pa.Array) -> None:
        """Keep of the templates from `start` on, which are new, one of their `lines` each."""
        at = np.flatnonzero(template >= start)
        of_new: dict[int, str] = {}
        for number, line in zip(template[at].tolist(), lines.take(pa.array(at)).to_pylist(),
                                strict=True):  # fmt: skip
            of_new[number] = min(of_new.get(number, line), line)
        self.examples += [shown(of_new[number]) for number in range(start, len(self.tokens))]

    def _match(self, scope: str, tokens: list[str]) -> int:
        """Return the template of a line not seen before, which it may change or be the first of."""
        if len(tokens) > TOKENS_MAX:
            tokens = [*tokens[: TOKENS_MAX - 1], ANY]
        key = self._key(scope, tokens)
        leaf = self._leaves.setdefault(key, [])
        full = len(leaf) >= LEAF_MAX
        best, most = OTHER, -1
        for template in leaf:
            alike = _alike(self.tokens[template], tokens, full)
            if alike > most:
                best, most = template, alike
        if most >= SIMILAR * len(tokens) and best != OTHER:
            pairs = zip(self.tokens[best], tokens, strict=True)
            self.tokens[best] = tuple(a if a == b else ANY for a, b in pairs)
            return best
        if full or len(self.tokens) >= TEMPLATES_MAX:
            return OTHER
        leaf.append(len(self.tokens))
        self.tokens.append(tuple(tokens))
        self.keys.append(key)
        return leaf[-1]

    def _key(self, scope: str, tokens: list[str]) -> Key:
        key: Key = (scope, str(len(tokens)))
        for token in tokens[:DEPTH]:
            children = self._children.setdefault(key, set())
            if ANY in token or (token not in children and len(children) >= CHILDREN_MAX):
                token = ANY
            children.add(token)
            key = (*key, token)
        return key

    def save(self) -> dict[str, Any]:
        """Return plain values from which `restore` makes these templates again."""
        return {
            "templates": [
                list(told) for told in zip(self.keys, self.tokens, self.examples, strict=True)
            ],
            "known": self._known,
            "children": [[list(k), sorted(words)] for k, words in sorted(self._children.items())],
            "counts": dict(self.counts),
        }

    @classmethod
    def restore(cls, saved: dict[str, Any]) -> Templates:
        """Return the templates that were saved."""
        self = cls()
        self.keys = [tuple(key) for key, _, _ in saved["templates"]]
        self.tokens = [tuple(tokens) for _, tokens, _ in saved["templates"]]
        self.examples = [example for _, _, example in saved["templates"]]
        for template, key in enumerate(self.keys[1:], start=1):
            self._leaves.setdefault(key, []).append(template)
        self._known = {scope: dict(known) for scope, known in saved["known"].items()}
        self._children = {tuple(key): set(words) for key, words in saved["children"]}
        self.counts = Counter(saved["counts"])
        return self


def shown(text: str) -> str:
    """Return what came from outside as one line that may be shown: printable, and not too long."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text[:LINE_MAX]).split())
    return text if len(text) <= EXAMPLE_MAX else f"{text[: EXAMPLE_MAX - 3]}..."


def masks(lines: pa.Array) -> pa.Array:
    """Return lines [n] with what varies in any log replaced by `ANY`."""
    lines = pc.utf8_slice_codeunits(lines, 0, LINE_MAX)
    for pattern in (MASK, RESTATED, LIST):
        lines = pc.replace_substring_regex(lines, pattern, ANY)
    return lines


def _alike(template: Iterable[str], tokens: Iterable[str], loosely: bool) -> int:
    """Return in how many words a line is like a template; -1: it says something else.

    `loosely`: it may differ in any words.
    """
    alike = words = 0
    for known, token in zip(template, tokens, strict=True):
        if known == token:
            alike += 1
        elif known != ANY and not loosely:
            if _tells_apart(known, token):
                return -1
            words += _is_word(known) and _is_word(token)
            if words > WORDS_MAX:
                return -1
    return alike


def _is_word(token: str) -> bool:
    return _WORD.fullmatch(token.strip(_PUNCTUATION)) is not None


def _tells_apart(a: str, b: str) -> bool:
    """Say whether two different words are constants: then their lines are two statements.

    They are if both are words of one name (``user=root`` and ``user=guest``), truths, or written in
    capitals (``HTTPS`` and ``SOCKS5``).
    """
    a, b = a.replace(ANY, ""), b.replace(ANY, "")
    capitals = a.strip(_PUNCTUATION), b.strip(_PUNCTUATION)
    if capitals[0] != capitals[1] and all(map(_CAPITALS.fullmatch, capitals)):
        return True
    for sign in "=:":
        name, _, value = a.partition(sign)
        other_name, _, other = b.partition(sign)
        if name == other_name and a != name and b != name:
            values = value.strip(_PUNCTUATION), other.strip(_PUNCTUATION)
            if value != other and all(map(_LETTERS.fullmatch, (v or "empty" for v in values))):
                return True
    return {a.strip(_PUNCTUATION).lower(), b.strip(_PUNCTUATION).lower()} == {"true", "false"}
