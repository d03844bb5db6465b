"""The licence of a bundle and of what it generates, as the address of its text."""

from __future__ import annotations

from pathlib import Path

APACHE = "https://spdx.org/licenses/Apache-2.0.html"
LONGEST = 200


def licence_of(bundle_root: str | Path | None) -> str:
    """The licence that a bundle's `LICENSE` holds: its SPDX address, its title, or "unknown" where there is none."""
    if bundle_root is None:
        return "unknown"
    try:
        with open(Path(bundle_root) / "LICENSE", encoding="utf-8", errors="replace") as file:
            head = " ".join(file.read(2000).split())
    except OSError:
        return "unknown"
    if head.startswith("Apache License Version 2.0"):
        return APACHE
    return head[:LONGEST] or "unknown"
