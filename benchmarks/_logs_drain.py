"""Drain as its paper has it, to be compared with: no masks, no memory of lines, no bounds.

He et al., "Drain: an online log parsing approach with fixed depth tree", ICWS 2017,
doi:10.1109/ICWS.2017.13: a tree by length and first words (words with digits are wildcards), and
in each leaf the template that shares most words with the line, if it shares at least `similar`.
"""

from __future__ import annotations

ANY = "<*>"


class Drain:
    """A plain reading, for benchmarks."""

    def __init__(self, depth: int = 4, similar: float = 0.5, children: int = 100) -> None:
        self.words = depth - 2
        self.similar = similar
        self.children = children
        self.templates: list[list[str]] = []
        self.root: dict = {}

    def add(self, line: str) -> int:
        """Return the number of the template of a line, and learn it."""
        tokens = line.split()
        node = self.root.setdefault(len(tokens), {})
        for token in tokens[: self.words]:
            if any(letter.isdigit() for letter in token):
                token = ANY
            if token not in node and len(node) >= self.children:
                token = ANY
            node = node.setdefault(token, {})
        leaf = node.setdefault(None, [])
        best, most = -1, (-1.0, 0)
        for number in leaf:
            template = self.templates[number]
            same = sum(a == b for a, b in zip(template, tokens, strict=True))
            found = (same / max(len(tokens), 1), template.count(ANY))
            if found > most:
                best, most = number, found
        if best < 0 or most[0] < self.similar:
            leaf.append(len(self.templates))
            self.templates.append(tokens)
            return leaf[-1]
        pairs = zip(self.templates[best], tokens, strict=True)
        self.templates[best] = [a if a == b else ANY for a, b in pairs]
        return best
