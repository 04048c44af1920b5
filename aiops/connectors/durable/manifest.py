"""What is known of a sealed segment without opening it."""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass

from aiops.errors import LogError

FORMAT = 1


@dataclass(frozen=True)
class Manifest:
    """What is known of a sealed segment without opening it."""

    first: int
    last: int
    next: int
    """The number after its own, or a later one, when it may have held more than is left."""
    recv_ns: int
    """Of its last record."""
    size: int
    """Of the database, bytes."""
    sha256: str
    format: int = FORMAT

    def dump(self) -> bytes:
        """Return it as a line of JSON after its checksum."""
        text = json.dumps(asdict(self), sort_keys=True).encode()
        return b"%08x %s\n" % (zlib.crc32(text), text)

    @classmethod
    def load(cls, line: bytes) -> Manifest | None:
        """Read it; None: it is damaged.

        Raises
        ------
        LogError
            It is whole, and of another format.
        """
        said, _, text = line.rstrip(b"\n").partition(b" ")
        if said != b"%08x" % zlib.crc32(text):
            return None
        fields = json.loads(text)
        if fields["format"] != FORMAT:
            raise LogError(
                f"a segment has format {fields['format']} and this version reads {FORMAT}: "
                "use the version that wrote it"
            )
        return cls(**fields)
