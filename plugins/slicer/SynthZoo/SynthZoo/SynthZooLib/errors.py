"""Mistakes that a reader can mend, each told in one sentence."""

from __future__ import annotations


class ZooError(Exception):
    """What went wrong and what to do about it, in one sentence for the panel."""


class NotFound(ZooError):
    """The server has no such address or thing."""


class Busy(ZooError):
    """The server does another thing of that kind already."""


class Cancelled(ZooError):
    """The user took the request back."""
