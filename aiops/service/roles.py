"""Roles: what the bearer of a credential may do. Which route needs which stands with the routes."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from aiops.errors import SettingsError


class Role(StrEnum):
    """A kind of thing one may do. No role contains another; a credential has a set of them."""

    INGEST = "ingest"
    """Write telemetry of the devices that the credential names."""
    READ = "read"
    """See devices, findings, plans and actions."""
    FEEDBACK = "feedback"
    """Say whether a finding was right, acknowledge incidents."""
    PROPOSE = "propose"
    """Propose actions and plans."""
    APPROVE = "approve"
    """Approve or reject what somebody else proposed; put labels and silences in force."""
    ADMIN = "admin"
    """Change settings, halt actions, see the service's own state."""


def roles_of(names: Iterable[str]) -> frozenset[Role]:
    """Return the roles of these names.

    Raises
    ------
    SettingsError
        A name is that of no role, or there is none.
    """
    named = list(names)
    unknown = sorted(set(named) - set(Role))
    if unknown or not named:
        asked = f"no role is called {unknown[0]!r}" if unknown else "no role is given"
        raise SettingsError(f"{asked}: there are {', '.join(Role)}")
    return frozenset(map(Role, named))
