"""Which files a user means by a path, a list, a folder or a pattern; results of earlier runs are no images."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from synthzoo.cases.examples import FOLDER as EXAMPLE_FOLDER
from synthzoo.cases.table import is_label
from synthzoo.errors import UserError
from synthzoo.io.kinds import dicom_kind, endings_of, format_of, format_of_name, is_input, stem
from synthzoo.io.marks import Mark, read_mark
from synthzoo.io.series import dicom_files, modality_of

# The usual ending of a kind, and what it is called in a sentence.
USUAL = {"volume": ".nii.gz", "image": ".png", "video": ".avi", "label": ".nii.gz", "latents": ".pt"}
CALLED = {"volume": "a volume", "image": "a picture", "video": "a video", "label": "a label map", "latents": "latents"}


def find_images(
    images: str | Path | Sequence[str | Path],
    exclude: str | Path | None = None,
    kinds: Collection[str] = ("volume",),
    choose: Callable[[list[Path]], list[Path]] = list,
    bundle: str = "",
) -> list[Path]:
    """The images that a user means.

    Args:
        images: a path, a list of paths, a folder (searched below, see `synthzoo.io.kinds.is_input`) or a pattern
            such as `scans/*_T1w.nii.gz`; a list may hold any of these.
        exclude: folder whose files do not count, such as the results of an earlier run, unless images lie in it.
        kinds: of files that count in a folder: "volume", "image", "video", "label" or "latents".
        choose: leaves out files of a folder that do not count after all.
        bundle: whose own results do not count in a folder or pattern; maps and previews of any bundle never do.

    Returns:
        paths, each once, sorted within a folder or pattern; a path that does not exist or a folder that may not be
        read is kept, so that it is reported with the others.

    Raises:
        UserError: nothing was given, a folder holds no such image, or a pattern fits nothing.
    """
    if isinstance(images, (list, tuple)):
        found = [path for item in images for path in find_images(item, exclude, kinds, choose, bundle)]
        if not found:
            raise UserError("images is an empty list: give a path, a list of paths, a folder or a pattern.")
        return list(dict.fromkeys(found))
    if not isinstance(images, (str, Path)) or not str(images).strip():
        raise UserError(
            f"images is {images!r}: give a path, a list of paths, a folder or a pattern like "
            f"'in/*{USUAL[next(iter(kinds))]}'."
        )
    path = Path(images).expanduser()
    try:
        if path.is_dir():
            return _in_folder(path, exclude, kinds, choose, bundle)
        if glob.has_magic(str(path)) and not path.exists():
            return _by_pattern(path, exclude, kinds, bundle)
    except OSError as error:
        raise UserError(f"images {path} cannot be read ({error.strerror}): check its permissions.") from None
    return [path]


def without_previews(paths: list[Path]) -> list[Path]:
    """Files without label maps and heat maps and, where there are videos or volumes, without pictures."""
    paths = [path for path in paths if not is_label(path.name) and not stem(path.name).endswith("heatmap")]
    moving = [path for path in paths if format_of_name(path.name) not in ("png", "jpeg", "nrrd")]
    return moving or paths


def _in_folder(
    folder: Path,
    exclude: str | Path | None,
    kinds: Collection[str],
    choose: Callable[[list[Path]], list[Path]],
    bundle: str,
) -> list[Path]:
    if is_input(folder, kinds):
        return [folder]
    below, closed = _files_below(folder)
    exclude = exclude if exclude is None or not _holds(exclude, folder) else None
    counted = choose([p for p in below if _counts(p, kinds) and not _below(p, exclude) and not _is_example(p, folder)])
    found = [*without_results(counted, kinds, bundle), *(p for p in closed if not _below(p, exclude))]
    if not found:
        only = f" but {len(counted)} results of earlier runs" if counted else ""
        raise UserError(f"images folder {folder} holds {_lacks(below, kinds)}{only}: name the folder of the images.")
    return sorted(found)


def _lacks(below: Sequence[Path], kinds: Collection[str]) -> str:
    """What a folder without an image of these kinds holds instead, as part of a sentence."""
    slices = (path for path in below if path.is_file() and format_of(path) == "dicom")
    if (found := next(slices, None)) is None or dicom_kind(found) in kinds:
        return f"no {', '.join(endings_of(kinds))} or DICOM files"
    wanted = " or ".join(CALLED[kind] for kind in kinds)
    said = f"{CALLED[dicom_kind(found)]} of the modality {modality_of(found) or 'unknown'}"
    return f"DICOM files, but not of {wanted} ({found.name} is of {said})"


def _by_pattern(pattern: Path, exclude: str | Path | None, kinds: Collection[str], bundle: str) -> list[Path]:
    fitting = [Path(p) for p in sorted(glob.glob(str(pattern), recursive=True)) if not _below(Path(p), exclude)]
    found = without_results(_once(fitting), kinds, bundle)
    if not found:
        only = f" but {len(fitting)} results of earlier runs" if fitting else ""
        raise UserError(f"images pattern {pattern} fits no file{only}: check the folder and the pattern.")
    return found


def _counts(path: Path, kinds: Collection[str]) -> bool:
    try:
        return is_input(path, kinds)
    except OSError:  # a folder that may not be read is reported as such
        return False


def _files_below(folder: Path) -> tuple[list[Path], list[Path]]:
    """Files and folders below a folder, sorted, and the folders that cannot be read.

    Hidden ones do not count, links to folders are followed, a file with two names counts once. A link that leads
    nowhere, as in a DataLad clone without its content, is kept, so that it is reported by name.

    Raises:
        OSError: the folder itself cannot be read.
    """
    found: list[Path] = []
    closed: list[Path] = []
    seen: set[str] = set()

    def tell(error: OSError) -> None:
        if str(error.filename) == str(folder):
            raise error
        closed.append(Path(error.filename))

    for root, folders, files in os.walk(folder, followlinks=True, onerror=tell):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if (real := os.path.realpath(root)) in seen:
            folders.clear()
            continue
        seen.add(real)
        found += [Path(root, name) for name in (*folders, *files) if not name.startswith(".")]
    return _once(sorted(found)), sorted(closed)


def _once(paths: Sequence[Path]) -> list[Path]:
    """Paths without further names of the same file; that of the file itself is kept rather than a link's."""
    found: dict[str, Path] = {}
    for path in sorted(paths, key=lambda path: path.is_symlink()):
        first = found.setdefault(os.path.realpath(path), path)
        if first != path and path.is_symlink() and first.is_symlink():
            print(f"warning: {path} is the file of {first}, which is taken once", file=sys.stderr)
    return sorted(found.values())


def without_results(paths: Sequence[Path], kinds: Collection[str] = ("volume",), bundle: str = "") -> list[Path]:
    """Paths without those that a bundle made of an image: by their own marks, or by the sidecars of their case.

    A map, a mask, a reconstruction or a preview is a result of whatever bundle. A synthetic image that was made of
    another one is a result of its own bundle alone: others, such as an audit of the generator, may take it.

    Args:
        paths: files and folders of DICOM slices.
        kinds: that the bundle takes; label maps count as images where they are among them.
        bundle: the bundle's name.
    """
    cases: dict[Path, bool] = {}

    def in_case(path: Path) -> bool:
        folder = path.parent
        if not path.name.startswith(f"{folder.name}_"):
            return False
        if folder not in cases:  # the folder's sidecars, such as that of a scan's copy in DICOM
            sidecars = folder.glob(f"{glob.escape(folder.name)}_*.json")
            cases[folder] = any(_says_result(_mark_inside(sidecar), kinds, bundle) for sidecar in sidecars)
        return cases[folder]

    return [path for path in paths if not (_says_result(_mark_inside(path), kinds, bundle) or in_case(path))]


def _says_result(mark: Mark | None, kinds: Collection[str], bundle: str) -> bool:
    if mark is None or "cases" in mark.record:  # a preview of a whole set
        return mark is not None
    own = "input" in mark.record and bundle != "" and mark.record.get("bundle") == bundle
    return own or (not mark.synthetic and "label" not in kinds)


def _mark_inside(path: Path) -> Mark | None:
    try:
        files = dicom_files(path)[:1] if path.is_dir() else [path]
        return read_mark(files[0]) if files and files[0].is_file() else None
    except (UserError, OSError):  # whoever reads the file says what is wrong with it
        return None


def _is_example(path: Path, folder: Path) -> bool:
    """Whether a file is the phantom that a run of `--images example` left below the folder."""
    return EXAMPLE_FOLDER in path.relative_to(folder).parts


def _below(path: Path, folder: str | Path | None) -> bool:
    return folder is not None and Path(folder).resolve() in path.resolve().parents


def _holds(folder: str | Path, other: Path) -> bool:
    return Path(folder).resolve() in (other.resolve(), *other.resolve().parents)
