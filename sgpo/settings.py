"""The base of all settings; the settings themselves are in sgpo.config and sgpo.engine_config."""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict

_CREDENTIALS = re.compile(r"^https?://[^/\s?#]*@|//[^/\s:@]*:[^/\s]*@", re.IGNORECASE)
"""Anything before the host of a web address, as a token may be the user; elsewhere user and password."""


class Settings(BaseModel):
    """Base of all settings: immutable, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def without_password(address: str, expected: str) -> str:
    """The address. ValueError when it has a password, as settings are logged and stored; it says what is expected."""
    if _CREDENTIALS.search(address):
        raise ValueError(f"it holds a password (expected {expected})")
    return address
