"""Names of cases: made from each image's own path alone, so that an image that joins others renames none of them.

| images is | a case is named |
|---|---|
| a file, or a folder that is one DICOM series | by its own name: `/data/s1/T1.nii.gz` is `T1` |
| a folder | by the path below it: `s1/T1.nii.gz` is `s1_T1`, `T1.nii.gz` is `T1` |
| a pattern | by the path below its part without wildcards: `/data/*/T1.nii.gz` gives `s1_T1` |
| a list | each of its entries by its own kind |

Where a file's name begins with the name of a folder above it, as in BIDS, that folder and what lies below it are left
out: `sub-01/anat/sub-01_T1w.nii.gz` is `sub-01_T1w`. An image that the output folder has under another of its possible
names keeps that name. Of two images with one name the later gets folders more, and that is said.
"""

from __future__ import annotations

import glob
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from synthzoo.io.kinds import stem


def case_names(paths: Sequence[Path]) -> list[str]:
    """One name per path: its stem, with as many folder names before it as are needed to tell the paths apart."""
    parts = [parts_of(path) for path in paths]
    depth = [1] * len(paths)
    while True:
        names = [joined(part[-n:]) for part, n in zip(parts, depth)]
        count = {name: names.count(name) for name in names}
        again = [i for i, name in enumerate(names) if count[name] > 1 and depth[i] < len(parts[i])]
        if not again:
            # The same stem as .nii and .nii.gz in one folder: a number tells them apart.
            return [n if count[n] == 1 else f"{n}_{names[:i].count(n) + 1}" for i, n in enumerate(names)]
        for i in again:
            depth[i] += 1


def stable_names(
    images: str | Path | Sequence[str | Path],
    paths: Sequence[Path],
    exists: Callable[[str], bool] = lambda name: False,
    holds: Callable[[str, int], bool] = lambda name, row: False,
) -> list[str]:
    """Names of the images that a user means, see above.

    Args:
        images: as the user gave them.
        paths: what was found by them.
        exists: whether the output folder has a case of this name.
        holds: whether that case was made from the image of this number in `paths`.

    Returns:
        names, in the order of `paths`, each once.
    """
    folders = folders_of(images)
    own = [own_name(path, folders) for path in paths]
    rest = [[name for name in longer_names(path) if name != own[row]] for row, path in enumerate(paths)]
    count: dict[str, int] = {}
    for name in own:
        count[name] = count.get(name, 0) + 1
    names: dict[int, str] = {}
    taken: dict[str, int] = {}
    for row, others in enumerate(rest):  # those that the output folder knows come first
        there = [name for name in (own[row], *others) if exists(name)]
        if there == [own[row]] and count[own[row]] == 1:
            found = own[row]  # whether it was made from this very image, the table says
        else:
            found = next((name for name in there if name not in taken and holds(name, row)), "")
        if found and found not in taken:
            names[row], taken[found] = found, row
    for row, path in enumerate(paths):
        if row in names:
            continue
        name = own[row]
        if name in taken:
            longer = [other for other in rest[row] if len(other) > len(name)]
            numbered = (f"{name}_{number}" for number in range(2, len(paths) + 2))
            name = next(other for other in (*longer, *numbered) if other not in taken and not exists(other))
            told = f"{paths[taken[own[row]]]} and {path} have one name, {own[row]}: the second is the case {name}"
            print(f"warning: {told}", file=sys.stderr)
        names[row], taken[name] = name, row
    return [names[row] for row in range(len(paths))]


def folders_of(images: str | Path | Sequence[str | Path]) -> list[Path]:
    """The folders below which the paths of images name cases: folders that were given, and where patterns begin."""
    found = []
    given: list[Any] = list(images) if isinstance(images, (list, tuple)) else [images]
    for item in given:
        path = Path(os.path.abspath(Path(item).expanduser()))
        if glob.has_magic(str(path)) and not os.path.exists(path):
            first = next(number for number, part in enumerate(path.parts) if glob.has_magic(part))
            found.append(Path(*path.parts[:first]))
        elif os.path.isdir(path):
            found.append(path)
    return found


def own_name(path: Path, folders: Sequence[Path]) -> str:
    """The name that a path alone gives: its stem, with what lies between it and the outermost of the folders."""
    parts = parts_of(path)
    above = Path(os.path.abspath(path)).parent
    depths = [len(above.parts) - len(folder.parts) for folder in folders if folder == above or folder in above.parents]
    below, name = parts[-1 - max(depths, default=0) : -1], parts[-1]
    for number, folder in enumerate(below):
        if re.match(rf"{re.escape(folder)}(?![A-Za-z0-9])", name):
            below = below[:number]
            break
    return joined([*below, name])


def longer_names(path: Path) -> list[str]:
    """Every name that a path can give, from its stem on, with one folder more each time."""
    parts = parts_of(path)
    return [joined(parts[-n:]) for n in range(1, len(parts) + 1)]


def parts_of(path: Path) -> list[str]:
    """The folders above a file as it is named, which a link is not followed for, and its stem."""
    whole = Path(os.path.abspath(path))
    return [*whole.parent.parts[1:], whole.name if os.path.isdir(whole) else stem(whole.name)]


def joined(parts: Sequence[str]) -> str:
    """Parts of a path as one name; it is no hidden file and holds no white space."""
    return re.sub(r"\s", "-", "_".join(parts)).lstrip(".") or "image"
