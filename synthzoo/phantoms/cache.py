"""The cache of phantoms that are made once: its folder, and names that change with what is in it."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any


def cache_folder() -> Path:
    """Folder in which phantoms are cached between runs: `SYNTHZOO_CACHE` or `~/.cache/synthzoo`."""
    return Path(os.environ.get("SYNTHZOO_CACHE") or Path.home() / ".cache" / "synthzoo")


def settings_key(settings: Any) -> str:
    """Twelve hexadecimal digits that name what was made of `settings`, which JSON can hold."""
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:12]
