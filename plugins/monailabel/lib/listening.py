"""The address that the server listens on: the loopback, unless other machines are let in."""

from __future__ import annotations

import ipaddress
import logging
import sys
import traceback
from collections.abc import Mapping
from typing import Any

from lib.guard import is_public

logger = logging.getLogger(__name__)


def listen_on_loopback(conf: Mapping[str, str]) -> None:
    """Bind the server to the loopback, unless `--conf public yes` stands there.

    The stock command listens on all addresses by default and has no setting for it that an app could give. The server
    starts the app before it opens its socket, so that its config can still be changed here.
    """
    if is_public(conf):
        return
    config = server_config()
    if config is not None and not is_loopback(config.host):
        logger.info(f"listening on 127.0.0.1 instead of {config.host}; --conf public yes lets other machines in")
        config.host = "127.0.0.1"


def server_config() -> Any | None:
    """The config of the uvicorn server that is starting this app, which is among the callers; None without a server."""
    uvicorn = sys.modules.get("uvicorn")
    if uvicorn is None:
        return None
    for frame, _ in traceback.walk_stack(None):
        config = getattr(frame.f_locals.get("self"), "config", None)
        if isinstance(config, uvicorn.Config):
            return config
    return None


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
