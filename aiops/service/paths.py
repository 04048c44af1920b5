"""What lies where in the service's data directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    """Where the service keeps what in its data directory."""

    data: Path

    @property
    def log(self) -> Path:
        """Segments of the durable log."""
        return self.data / "log"

    @property
    def control(self) -> Path:
        """Results, decisions, messages."""
        return self.data / "control.db"

    @property
    def state(self) -> Path:
        """Checkpoint of the engine."""
        return self.data / "state.npz"

    @property
    def keys(self) -> Path:
        """Credentials."""
        return self.data / "keys.json"

    @property
    def signer(self) -> Path:
        """Private key that signs actions."""
        return self.data / "signer.pem"

    @property
    def halt(self) -> Path:
        """While this file is there, no action leaves: ``touch`` it when all else is down."""
        return self.data / "halt"
