"""Input images of every kind: which files a user means, and one clear sentence for each that cannot be used.

Everything is checked before the network runs: a bad file among many is named and left out, the others run, and the run
ends with exit code 1 (`outputs.FinalizeDataset`).
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from synthzoo.cases.examples import FOLDER as EXAMPLE_FOLDER
from synthzoo.cases.examples import write_example
from synthzoo.cases.finding import find_images as find_images
from synthzoo.cases.finding import without_previews as without_previews
from synthzoo.cases.names import case_names as case_names
from synthzoo.cases.names import stable_names
from synthzoo.cases.table import CaseTable, process_rank
from synthzoo.errors import UserError
from synthzoo.io.files import sha256, text_of
from synthzoo.io.images import Picture, read_picture
from synthzoo.io.radiographs import CLEAR, UNSAID, expect_frontal, read_radiograph
from synthzoo.io.radiographs import MODALITIES as RADIOGRAPHS
from synthzoo.io.series import modality_of
from synthzoo.io.volumes import read_volume

EXAMPLE = "example"  # in place of a path


class ImageTable(CaseTable):
    """Images as a data set: item -> {"image": path as text, "case": stem, "row": 0}. A loading transform reads them.

    Args:
        images: see `find_images`; or the word "example", which writes a phantom into `<output_dir>/example_input` and
            takes it.
        channels: channels that the network takes per image.
        check: True reads every image of this process once before the run, to report all bad ones at once.
        kinds: that the bundle takes: "volume", "image", "video", "label" or "latents".
        loader: reads a sample {"image": path}, to find the bad ones; None reads volumes.
        example: kind of that phantom, see `write_example`; None is the one that the bundle's metadata names as
            `example_input`.
        kwargs: see `synthzoo.cases.table.CaseTable`: output_dir, suffix, folder, bundle, bundle_root, settings ...

    Raises:
        UserError: no image was found, or not one can be used. When some can be used, the sentences of the others are
            printed as warnings and kept in `failures`. Where no images were named at all it is raised when the table
            is used: MONAI Label's stock app makes the table with the postprocessing and brings its own images.
    """

    settings_key = "settings"
    config_id = "dataset#data"
    takes_inputs = True
    KINDS: tuple[str, ...] = ("volume",)

    def __init__(
        self,
        images: str | Path | Sequence[str | Path],
        channels: int = 1,
        check: bool = True,
        suffix: str = "heatmap.nii.gz",
        kinds: Collection[str] | None = None,
        loader: Callable[[dict], dict] | None = None,
        example: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(suffix=suffix, **kwargs)
        self.example_input = example or self.example_input
        self.kinds, self.loader = tuple(kinds or self.KINDS), loader
        self.channels = int(channels)
        self.unnamed = images == ""
        images = str(self.write_example()) if images == EXAMPLE else images
        self.paths = [] if self.unnamed else self.find(images, exclude=self.output_dir)
        self._digests: dict[int, Any] = {}
        self.cases = stable_names(images, self.paths, self._has_case, self._holds)
        if check and len(self.paths) == 1:
            self._check(0)
        self.share_out()
        if check and len(self.paths) > 1:
            self._leave_out_bad()

    def find(self, images: str | Path | Sequence[str | Path], exclude: str | Path | None = None) -> list[Path]:
        """The images that a user means, of the kinds that this table takes."""
        return find_images(images, exclude, self.kinds, bundle=self.bundle)

    def write_example(self) -> Path:
        """Write the bundle's example input and return its path; the same bytes each time.

        Raises:
            UserError: the bundle's metadata names none.
        """
        if not self.example_input:
            raise UserError(
                f"images is '{EXAMPLE}', but {self.bundle or 'this table'} names no example_input: give a path."
            )
        folder = tempfile.mkdtemp(prefix="synthzoo_") if self.output_dir is None else self.output_dir / EXAMPLE_FOLDER
        return write_example(self.example_input, folder)

    def check(self, path: Path, channels: int = 1) -> None:
        """Check that a file can be read, whole, by `loader` or as a volume; one sentence says what is wrong."""
        expect_modality(path, self.modality)
        if self.loader is None:
            check_volume(path, channels=channels)
        else:
            self.loader({"image": str(path)})

    def _check(self, row: int) -> bool:
        """Whether the row's image can be read; leaves it out where it cannot."""
        try:
            self.check(self.paths[row], channels=self.channels)
        except Exception as error:
            self.leave_out(row, error)
            return False
        return True

    def _leave_out_bad(self) -> None:
        self.rows = [row for row in self.rows if self._check(row)]
        if self.failures and not self.rows and not self.skipped and process_rank()[1] == 1:
            raise UserError(f"none of the {len(self.paths)} images can be used; the first: {self.failures[0]}")

    def named(self, row: int) -> str:
        """The row's image as a sentence names it."""
        return f"image {self.paths[row]}"

    def names(self, row: int) -> tuple[str, ...]:
        """What a sentence that names the row's image has in it."""
        return (str(self.paths[row]),)

    def _has_case(self, case: str) -> bool:
        try:
            return self.output_dir is not None and self.sidecar(case).is_file()
        except OSError:
            return False

    def _holds(self, case: str, row: int) -> bool:
        """Whether the output folder's case was made from the image of this row."""
        try:
            found = json.loads(self.sidecar(case).read_text(encoding="utf-8"))
            return found.get("input") == self._input(row)
        except (OSError, ValueError, AttributeError):
            return False

    def __len__(self) -> int:
        if self.unnamed:
            self.find("")  # says so
        return super().__len__()

    def is_done(self, row: int) -> bool:
        """Whether the row's results exist; a file that is not there counts as not done."""
        return self.paths[row].exists() and super().is_done(row)

    def record(self, row: int) -> dict:
        """Name and SHA-256 of the input, see `stamp_of`."""
        return {"input": self._input(row)}

    def _input(self, row: int) -> dict[str, Any]:
        path = self.paths[row]
        if row not in self._digests:  # asked for where it is named, before the run and where it is saved
            self._digests[row] = stamp_of(path)
        return self._digests[row]

    def load(self, row: int) -> dict:
        """The path; reading is the preprocessing's work."""
        return {"image": str(self.paths[row])}


def stamp_of(path: str | Path) -> dict[str, Any]:
    """Name and SHA-256 of a file, or of each file of a folder; never its folder, which may name a person or a machine.

    Raises:
        OSError: it cannot be read.
    """
    path = Path(path)
    files = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
    digests = [sha256(file) for file in files]
    return {"name": text_of(path.name), "sha256": digests[0] if len(files) == 1 else digests}


def stamped(value: Any) -> Any:
    """A setting as a sidecar holds it: the name and SHA-256 of a file, any other value as it is."""
    try:
        path = Path(value).expanduser() if isinstance(value, (str, Path)) and str(value).strip() else None
        return stamp_of(path) if path is not None and path.exists() else value
    except OSError:  # whoever reads the file says what is wrong with it
        return str(value)


def expect_modality(path: str | Path, modality: str) -> None:
    """Make sure that a DICOM file or folder is of the modality that a bundle takes, and a radiograph a frontal chest.

    Args:
        path: any image; one that states no modality passes.
        modality: such as "MR", "" for any; "CR" and "DX" are both radiographs.

    Raises:
        UserError: it is of another; see `synthzoo.io.radiographs.expect_frontal`.
    """
    stated = modality_of(path) if modality else ""
    if modality in RADIOGRAPHS:
        if stated not in (*RADIOGRAPHS, *UNSAID):
            raise UserError(f"image {path} is of modality {stated}, but this model takes radiographs ({modality}).")
        expect_frontal(path)
    elif stated and stated != modality:
        raise UserError(f"image {path} is of modality {stated}, but this model takes {modality}.")


def check_volume(path: str | Path, channels: int = 1) -> None:
    """Check a volume by reading it whole; what is wrong with it is raised as one sentence; see `read_volume`."""
    read_volume(path, channels)


class LoadVolumed(MapTransform):
    """Read a path into a MetaTensor [channels, D, H, W] float32 with its affine; every fault is one sentence.

    Args:
        keys: keys of the sample that hold paths.
        channels: channels that the network takes.
        allow_missing_keys: pass over keys that the sample lacks.

    Raises:
        UserError: see `read_volume`.
    """

    def __init__(self, keys: KeysCollection, channels: int = 1, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.channels = int(channels)

    def __call__(self, data: dict) -> dict:
        data = dict(data)
        for key in self.key_iterator(data):
            path = data[key]
            array, affine = read_volume(path, self.channels)
            meta = {
                "filename_or_obj": str(path),
                "spatial_shape": np.asarray(array.shape[1:]),
                "original_channel_dim": "no_channel" if self.channels == 1 else 0,
                "original_affine": affine.copy(),
                "space": "RAS",
            }
            data[key] = MetaTensor(torch.from_numpy(array), affine=torch.from_numpy(affine), meta=meta)
        return data


class LoadPictured(MapTransform):
    """Read a path into a MetaTensor [channels, H, W] float32 in [0, 1]; every fault is one sentence.

    Its affine has the mm between rows and between columns where the file states them, else 1; its meta says which as
    "pixel_mm", NaN where nothing is known.

    Args:
        keys: keys of the sample that hold paths.
        channels, colour: see `read_picture`.
        allow_missing_keys: pass over keys that the sample lacks.

    Raises:
        UserError: see `read_picture`; the same value everywhere.
    """

    def __init__(
        self, keys: KeysCollection, channels: int = 1, colour: str = "refuse", allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.channels, self.colour = int(channels), colour

    def read(self, path: str) -> tuple[Picture, dict[str, Any]]:
        """The picture of a path, and what else the sample gets."""
        picture = read_picture(path, self.channels, self.colour)
        if float(picture.levels.min()) == float(picture.levels.max()):
            raise UserError(f"picture {path} shows one shade throughout: check how it was exported.")
        return picture, {}

    def __call__(self, data: dict) -> dict:
        data = dict(data)
        for key in self.key_iterator(data):
            path = data[key]
            (levels, spacing), facts = self.read(path)
            data.update(facts)
            affine = torch.diag(torch.tensor([*(spacing or (1.0, 1.0)), 1.0, 1.0], dtype=torch.float64))
            meta = {
                "filename_or_obj": str(path),
                "spatial_shape": np.asarray(levels.shape[1:]),
                "original_channel_dim": 0,
                "original_affine": affine.numpy().copy(),
                "pixel_mm": np.asarray(spacing or (np.nan, np.nan)),  # no None: batches are collated
            }
            data[key] = MetaTensor(torch.from_numpy(levels), affine=affine, meta=meta)
        return data


class LoadRadiographd(LoadPictured):
    """Read a path into a MetaTensor [1, H, W] as `LoadPictured` does, if it can be a frontal chest radiograph.

    What is doubtful is told on stderr: levels that were turned, and a picture that hardly looks like a chest. The
    sample gets "radiograph", {"view", "turned", "likeness"}, for the sidecar.

    Args:
        keys: keys of the sample that hold paths.
        allow_missing_keys: pass over keys that the sample lacks.

    Raises:
        UserError: see `synthzoo.io.radiographs.read_radiograph`.
    """

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys=allow_missing_keys)

    def read(self, path: str) -> tuple[Picture, dict[str, Any]]:
        found = read_radiograph(path)
        if found.turned:
            print(f"warning: radiograph {path} shows bones dark; it was turned to bones bright.", file=sys.stderr)
        if found.likeness < CLEAR:
            print(f"warning: radiograph {path} hardly looks like a frontal chest; check the result.", file=sys.stderr)
        # No None: batches are collated.
        facts = {"view": found.view or "", "turned": found.turned, "likeness": round(found.likeness, 3)}
        return Picture(found.levels, found.spacing_mm), {"radiograph": facts}
