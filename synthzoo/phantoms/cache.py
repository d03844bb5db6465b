"""The cache of phantoms that are made once: its folder, and names that change with what is in it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synthzoo.errors import UserError


def cache_folder() -> Path:
    """Folder in which phantoms are cached between runs: `SYNTHZOO_CACHE` or `~/.cache/synthzoo`."""
    return Path(os.environ.get("SYNTHZOO_CACHE") or Path.home() / ".cache" / "synthzoo")


def settings_key(settings: Any) -> str:
    """Twelve hexadecimal digits that name what was made of `settings`, which JSON can hold."""
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:12]


def split_seeds(
    what: str, splits: Mapping[str, tuple[int, int]], split: str, count: int, of: str = "subjects"
) -> range:
    """Seeds of the first `count` phantoms of a split.

    Args:
        what: has the splits, with its verb, for the sentence: "scenes have".
        splits: name -> first seed of a split and the one after its last.
        split: one of them.
        count: phantoms, called by the setting `of`.

    Raises:
        UserError: an unknown split, or none or more phantoms than it has seeds.
    """
    if split not in splits:
        raise UserError(f"split = {split!r}: {what} the splits {', '.join(splits)}.")
    low, high = splits[split]
    if not 1 <= int(count) <= high - low:
        raise UserError(f"{of} = {count}: a split holds 1 to {high - low}.")
    return range(low, low + int(count))
