"""Every error the package raises on purpose.

::

    AiopsError
    ├── InputError          what was given cannot be read: what was asked, found, would work
    │   ├── FrameError      a frame without a device or a time column, or of no known shape
    │   ├── FileError       a file or stream that cannot be opened or parsed
    │   ├── PayloadError    a message over the network that cannot be decoded
    │   │   ├── TooLarge    ... or that is, or would become, larger than is allowed
    │   │   └── KeyReused   ... or whose idempotency key belongs to another one
    │   └── SettingsError   a setting out of range, an unknown name in a registry
    ├── StateError          saved state that does not fit this engine
    │   ├── StateMismatch   a detector's settings changed since its memory was saved
    │   └── CheckpointError a checkpoint that is torn, of another version, or of another engine
    ├── LogError            the durable log cannot promise what it was asked to
    │   └── LogFull     ... because the disk has no room, or a bound is reached
    ├── Busy                more is asked than can be served now: come again
    ├── DeliveryError       a message that could not be handed to whom it is for
    ├── ServeError          the service cannot start, or cannot listen where it should
    ├── AccessError         a request that may not be served
    │   ├── NotAuthenticated    nobody known sent it
    │   └── NotAllowed          who sent it lacks the role, or asks for another's device
    └── ActionError         an action that must not be
        └── EmptySelector   an action whose selector matches nothing (never "everything")
"""

from __future__ import annotations


class AiopsError(Exception):
    """Base of all errors raised on purpose; catch it to catch them all."""


class InputError(AiopsError):
    """Something given from outside cannot be used as it is."""


class FrameError(InputError):
    """A frame has no device or time column, or a shape nobody can read."""


class FileError(InputError):
    """A file or stream cannot be opened or parsed."""


class PayloadError(InputError):
    """A message that came over the network cannot be decoded."""


class TooLarge(PayloadError):
    """A message is, or would become, larger than is allowed."""


class KeyReused(PayloadError):
    """An idempotency key came again with other content."""


class SettingsError(InputError):
    """A setting is out of range, or a name is in no registry."""


class StateError(AiopsError):
    """Saved state does not fit this engine."""


class StateMismatch(StateError):
    """A detector's memory was saved under other settings: migrate, rebuild or drop it."""


class CheckpointError(StateError):
    """A checkpoint is torn, or was written by another version or engine."""


class LogError(AiopsError):
    """The durable log cannot promise what it was asked to: nothing more is acknowledged."""


class LogFull(LogError):
    """The disk has no room for more, or a bound on the log is reached; nothing was lost."""


class Busy(AiopsError):
    """More is asked of the service than it can serve now; nothing was taken."""

    def __init__(self, said: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(said)
        self.retry_after_s = retry_after_s


class DeliveryError(AiopsError):
    """A message could not be handed over. `permanent`: trying again will not help.

    `retry_after_s` is how long its receiver asks to be left alone; 0: it does not say.
    """

    def __init__(self, said: str, *, permanent: bool = False, retry_after_s: float = 0.0) -> None:
        super().__init__(said)
        self.permanent = permanent
        self.retry_after_s = retry_after_s


class ServeError(AiopsError):
    """The service cannot start, or cannot listen where it should."""


class AccessError(AiopsError):
    """A request may not be served to whoever sent it."""


class NotAuthenticated(AccessError):
    """A request carries no credential, or one that is unknown, expired or revoked."""


class NotAllowed(AccessError):
    """Who sent a request lacks the role it needs, or asks for what is another's."""


class ActionError(AiopsError):
    """An action that must not be carried out."""


class EmptySelector(ActionError):
    """An action selects nothing; an empty selector never means everything."""
