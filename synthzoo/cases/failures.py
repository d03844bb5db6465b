"""What is said of a case that cannot be done: one sentence that names its file, whatever went wrong and wherever."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from synthzoo.errors import EndRun, find_user_error

OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "DefaultCPUAllocator", "bad_alloc", "out of memory")
LONGEST = 200  # characters of what a library says


@dataclass(frozen=True)
class Failure:
    """A case that could not be done.

    Args:
        row: of its table.
        sentence: for the user; names the file.
        traceback: where nobody foresaw the error, "" elsewhere.
    """

    row: int
    sentence: str
    traceback: str = ""


def failure_of(error: Exception, row: int, named: str, names: tuple[str, ...] = ()) -> Failure:
    """What to say of an error that came up in one case.

    Args:
        error: as it was raised, wrapped by MONAI or not.
        row: of the case.
        named: the case for the sentence, such as "image /data/scan.nii.gz".
        names: a sentence with one of these in it names the case already.

    Raises:
        Exception: the error itself, where it ends the run: a full disk, a cancelled request, a GPU that is lost.
    """
    causes = list(causes_of(error))
    if any(isinstance(cause, EndRun) or _lost_device(cause) for cause in causes):
        raise error
    mistake = find_user_error(error)
    if mistake is not None:
        said = str(mistake)
        return Failure(row, said if any(name in said for name in names) else f"{named}: {said}")
    if any(_out_of_memory(cause) for cause in causes):
        return Failure(
            row, f"{named} needs more memory than there is: crop it, make it coarser, or use a larger machine."
        )
    root = causes[-1]
    if isinstance(root, OSError) and root.strerror:
        file = "" if root.filename is None or str(root.filename) in named else f"{root.filename} "
        return Failure(row, f"{named}: {file}cannot be used ({root.strerror}).")
    said = (str(root).strip().splitlines() or [""])[0][:LONGEST].rstrip(".")
    kind = type(root).__name__
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return Failure(row, f"{named}: {kind}{': ' if said else ''}{said}.", trace)


def causes_of(error: BaseException) -> Iterator[BaseException]:
    """An error and what it was raised from, the first cause last."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        yield error
        seen.add(id(error))
        error = error.__cause__


def _out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)


def _lost_device(error: BaseException) -> bool:
    """Whether a GPU's state is lost, so that every further case would fail too."""
    return isinstance(error, RuntimeError) and "CUDA error" in str(error) and not _out_of_memory(error)
