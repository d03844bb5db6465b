"""The members of the ablation: which task, on which intensity, each trained at the same small size and steps."""

from __future__ import annotations

from typing import Any

from synthzoo.errors import UserError

GAIN, NONE = (10, 19), (1, 1)
EQUALISED, RAW = "equalise", "percentiles"
SIZE = 64  # of the grid of all members
KEYS = ("title", "task", "gain", "soft", "healthy", "intensity")
MEMBERS: dict[str, tuple] = {
    "pii_equalised": ("PII, equalised", "pii", NONE, 0.0, 0.0, EQUALISED),
    "gain1_equalised": ("P-PII without gain, equalised", "ppii", NONE, 0.0, 0.0, EQUALISED),
    "ppii_equalised": ("P-PII, equalised", "ppii", GAIN, 0.0, 0.0, EQUALISED),
    "pii_raw": ("PII, raw", "pii", NONE, 0.0, 0.0, RAW),
    "gain1_raw": ("P-PII without gain, raw", "ppii", NONE, 0.0, 0.0, RAW),
    "ppii_raw": ("P-PII, raw", "ppii", GAIN, 0.0, 0.0, RAW),
    "shipped": ("P-PII with a quarter soft, equalised (as shipped)", "ppii", GAIN, 0.25, 0.05, EQUALISED),
    "soft_equalised": ("soft changes alone, equalised", "ppii", GAIN, 0.95, 0.05, EQUALISED),
}


def setting(member: str, key: str) -> Any:
    """One setting of a member of the ablation.

    Args:
        member: one of `MEMBERS`.
        key: one of `KEYS`, of which all but "title" and "intensity" are arguments of `RandPatchAnomalyd`, or "size".

    Raises:
        UserError: an unknown member.
    """
    if member not in MEMBERS:
        raise UserError(f"member = {member!r}: the ablation has {', '.join(MEMBERS)}.")
    return SIZE if key == "size" else MEMBERS[member][KEYS.index(key)]
