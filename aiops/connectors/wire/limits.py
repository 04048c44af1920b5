"""How much a payload may be, before and after it is unpacked: checked before memory is spent."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Bounds on one payload."""

    body_bytes: int = 8 * MIB
    """As it came over the wire."""
    unpacked_bytes: int = 16 * MIB
    ratio: int = 16
    """Unpacked at most so many times its size, though `free_bytes` always may."""
    free_bytes: int = 1 * MIB
    cells: int = 1 << 22
    """Rows times columns of all its frames."""
    labels: int = 64
    """Of one series or reading."""
    name_bytes: int = 256
    """Of a metric, a label's name, a device."""
    value_bytes: int = 4096
    """Of a label's value, or of a reading that is text; longer log messages are cut."""

    def unpacked(self, packed: int) -> int:
        """Return how many bytes `packed` ones may become."""
        return min(self.unpacked_bytes, max(self.free_bytes, self.ratio * packed))
