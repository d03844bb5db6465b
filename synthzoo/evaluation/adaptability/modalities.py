"""What a row of the table compares: held-out phantoms of a modality, and the like of them from a bundle.

Phantoms and results pass through the same file where that file loses something: echo videos are read back from AVI.
"""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from tqdm import tqdm

from synthzoo.datasets.chest.ct import WINDOW_HU
from synthzoo.datasets.echo.phantoms import EchoPhantomDataset
from synthzoo.evaluation.brain_subjects import Brains
from synthzoo.evaluation.chest_subjects import Chests
from synthzoo.evaluation.subjects import Subjects
from synthzoo.io.files import write_bytes, write_text
from synthzoo.io.images import png_bytes, read_picture
from synthzoo.io.videos import as_unit, read_video, write_avi
from synthzoo.io.volumes import read_volume
from synthzoo.phantoms.brain.label_maps import to_values
from synthzoo.phantoms.brain.label_pool import SPLITS as SLICE_SPLITS
from synthzoo.phantoms.brain.label_pool import subject_slices
from synthzoo.phantoms.brain.painting import draw_scan, paint_maps
from synthzoo.phantoms.chest.findings import KINDS
from synthzoo.phantoms.chest.phantom import chest_study
from synthzoo.phantoms.chest.pool import SPLITS as CHEST_SPLITS
from synthzoo.phantoms.chest.report import BRIEF, CLAUSES, NORMAL

Run = dict[str, Any]  # what one run of a bundle changes in its inference.json
SLICES = (0.3, 0.4, 0.5, 0.6, 0.7)  # of a volume's height, where the axial slices lie that features see
EVERY = 4  # frames of a video, of which features see one
GROUPS = 8  # runs of a bundle whose request is one for all its inputs
FPS = 16.0


@dataclass
class Phantoms:
    """Held-out phantoms and what a bundle is told of them.

    Attributes:
        images: float32 in [0, 1], (N, D, H, W) volumes, (N, T, H, W) videos or (N, H, W) images.
        names: of the conditions.
        values: float64 (N, K), in user units; of a condition with words, the number of the word.
        labels: uint8 (N, H, W), label maps where a bundle paints them; else empty.
    """

    images: np.ndarray
    names: tuple[str, ...]
    values: np.ndarray
    labels: np.ndarray

    def __getitem__(self, rows: slice) -> Phantoms:
        return Phantoms(self.images[rows], self.names, self.values[rows], self.labels[rows])


class Modality(ABC):
    """Images of one kind: their phantoms, the runs that request their like, and how both are looked at.

    Attributes:
        axes: trailing axes of an image that are space.
        suffix: of the files that are read.
        each: results for one that is counted, so that features see about as many images of every modality.
        seen: what features see, in words; `compared` what MS-SSIM compares.
    """

    axes: ClassVar[int] = 2
    each: ClassVar[int] = 1
    suffix: str
    seen: ClassVar[str] = "each image"
    compared: ClassVar[str] = "images"

    @abstractmethod
    def phantoms(self, count: int, first: int) -> Phantoms:
        """So many phantoms, a multiple of `each`, of held-out subjects from number `first` on."""

    @abstractmethod
    def read(self, path: Path) -> np.ndarray:
        """One result in [0, 1]."""

    def runs(self, asked: Phantoms, conditions: Mapping[str, Mapping], folder: Path, seed: int) -> list[Run]:
        """Runs that request as many results as there are phantoms, with their conditions.

        Args:
            asked: whose conditions are requested.
            conditions: of the bundle, by name, as its metadata states them.
            folder: for tables and inputs.
            seed: of the noise.
        """
        write_text(folder / "requests.tsv", request_table(asked, conditions))
        return [{"requests": str(folder / "requests.tsv"), "seed": seed}]

    def planes(self, images: np.ndarray) -> np.ndarray:
        """The images (M, H, W) that features see, of all (N, ...)."""
        return images

    def units(self, images: np.ndarray) -> np.ndarray:
        """What MS-SSIM compares in pairs, (N, H, W) or (N, D, H, W)."""
        return images


def request_table(asked: Phantoms, conditions: Mapping[str, Mapping]) -> str:
    """A table of requests as TSV: a line for each phantom, values within the bundle's bounds, words by their number."""
    names = [name for name in asked.names if name in conditions]
    lines = ["\t".join(names)]
    for row in asked.values:
        cells, held = [], dict(zip(asked.names, row.tolist(), strict=True))
        for name in names:
            rule, value = conditions[name], held[name]
            low, high = rule.get("minimum", -np.inf), rule.get("maximum", np.inf)
            cells.append(str(rule["enum"][int(value)]) if "enum" in rule else f"{np.clip(value, low, high):.6g}")
        lines.append("\t".join(cells))
    return "\n".join(lines) + "\n"


def groups(count: int) -> list[np.ndarray]:
    """Numbers below `count` in up to `GROUPS` groups: every eighth is in one."""
    return [np.arange(first, count, GROUPS) for first in range(min(GROUPS, count))]


class Volumes(Modality):
    """Volumes of subjects, of which features see five axial slices.

    Args:
        subjects: whose they are.
        suffix: of the bundle's files.
        window: of the files' values, what becomes 0 and 1.
        spacing_mm: of the bundle's grid; None is that of the subjects.
    """

    axes: ClassVar[int] = 3
    seen: ClassVar[str] = f"{len(SLICES)} axial slices of each volume"
    compared: ClassVar[str] = "volumes"

    def __init__(
        self, subjects: Subjects, suffix: str, window: Sequence[float] = (0, 1), spacing_mm: float | None = None
    ) -> None:
        self.subjects, self.suffix, self.window = subjects, suffix, window
        self.spacing_mm = subjects.spacing_mm if spacing_mm is None else spacing_mm

    def phantoms(self, count: int, first: int) -> Phantoms:
        rows = self.subjects.rows(count, split="test", first=first, spacing_mm=self.spacing_mm)
        images = np.stack([rows.image(row) for row in tqdm(range(count), desc="phantoms", mininterval=5)])
        values = np.stack([rows.facts(row)["conditions"].numpy() for row in range(count)])
        return Phantoms(images.astype(np.float32), self.subjects.names, values.astype(np.float64), no_labels(count))

    def read(self, path: Path) -> np.ndarray:
        low, high = self.window
        return ((read_volume(path)[0][0] - low) / (high - low)).clip(0, 1)

    def planes(self, images: np.ndarray) -> np.ndarray:
        levels = [int(share * images.shape[-1]) for share in SLICES]
        return np.moveaxis(images[..., levels], -1, 1).reshape(-1, *images.shape[1:3])


class Videos(Modality):
    """Echo videos of 16 frames, of which features see every fourth; MS-SSIM compares first frames."""

    suffix = "echo.avi"
    seen: ClassVar[str] = f"every {EVERY}th frame of each video"
    compared: ClassVar[str] = "first frames"

    def __init__(self, size: int = 32) -> None:
        self.size = size

    def phantoms(self, count: int, first: int) -> Phantoms:
        rows = EchoPhantomDataset("tiny", "TEST", count, first, size=self.size, fps=FPS)
        with tempfile.TemporaryDirectory() as folder:
            path, images = Path(folder) / "one.avi", []
            for row in range(count):
                write_avi(path, rows[row]["video"][0].numpy(), FPS)
                images.append(self.read(path))
        values = 100 * np.array([[rows.params(row).ef] for row in range(count)])
        return Phantoms(np.stack(images), ("ef",), values, no_labels(count))

    def read(self, path: Path) -> np.ndarray:
        return as_unit(read_video(path).frames)

    def planes(self, images: np.ndarray) -> np.ndarray:
        return images[:, ::EVERY].reshape(-1, *images.shape[2:])

    def units(self, images: np.ndarray) -> np.ndarray:
        return images[:, 0]


class EditedVideos(Videos):
    """Echo videos that a bundle makes of held-out ones, with the ejection fractions of others."""

    def runs(self, asked: Phantoms, conditions: Mapping[str, Mapping], folder: Path, seed: int) -> list[Run]:
        paths = []
        for number, video in enumerate(asked.images):
            paths.append(str(folder / f"sub-{number:04d}.avi"))
            write_avi(paths[-1], video, FPS)
        parts = groups(len(paths))
        shares = (np.arange(len(parts)) + 0.5) / len(parts)
        rule = conditions["ef"]
        efs = np.quantile(asked.values[:, 0], shares).clip(rule["minimum"], rule["maximum"]).round(2).tolist()
        return [{"images": [paths[row] for row in part], "ef": ef, "seed": seed} for part, ef in zip(parts, efs)]


class Radiographs(Modality):
    """Frontal radiographs of chests, each of another patient, requested by findings and sex."""

    each: ClassVar[int] = 4
    suffix = "cxr.png"

    def __init__(self, size: int = 128) -> None:
        self.size = size

    def phantoms(self, count: int, first: int) -> Phantoms:
        images, values = [], []
        for number in tqdm(range(count), desc="phantoms", mininterval=5):
            study = chest_study(CHEST_SPLITS["TEST"][0] + first + number, size=self.size)
            images.append(study.image)
            values.append([*(kind in study.kinds for kind in KINDS), study.patient.sex == "M"])
        names = (*(kind.replace(" ", "_") for kind in KINDS), "sex")
        return Phantoms(np.stack(images), names, np.array(values, np.float64), no_labels(count))

    def read(self, path: Path) -> np.ndarray:
        return read_picture(path).levels[0]


class PromptedRadiographs(Radiographs):
    """Frontal radiographs of chests, requested by a prompt that names the findings; a run for each prompt."""

    def runs(self, asked: Phantoms, conditions: Mapping[str, Mapping], folder: Path, seed: int) -> list[Run]:
        prompts = [prompt_of([kind for kind, held in zip(KINDS, row) if held]) for row in asked.values]
        found = []
        for number, prompt in enumerate(sorted(set(prompts))):
            # Seeds of a run count up from its own; a thousand apart, no two runs share noise.
            one = {"prompt": prompt, "num_samples": prompts.count(prompt), "seed": seed + 1000 * number}
            found.append({"generate": True, **one})
        return found


def prompt_of(kinds: Sequence[str]) -> str:
    """The prompt for a radiograph with these findings, in the words of the phantom's reports."""
    return " and ".join(BRIEF.get(kind, CLAUSES[kind][0]).format(size="") for kind in kinds) or NORMAL[1]


class PaintedSlices(Modality):
    """Axial T1w slices of brains with lesions, five of a subject, painted from the label maps of held-out subjects."""

    each: ClassVar[int] = 5
    suffix = "slice.png"

    def phantoms(self, count: int, first: int) -> Phantoms:
        images, labels, start = [], [], SLICE_SPLITS["test"][0] + first
        for seed in tqdm(range(start, start + count // self.each), desc="phantoms", mininterval=5):
            rng, scan = np.random.default_rng([seed, 83]), None
            for maps, _, age in subject_slices(seed, self.each):
                scan = scan or draw_scan("T1w", rng, age)
                images.append(paint_maps(maps, scan, rng).clip(0, 1))
                labels.append(to_values(maps.argmax(0)))
        return Phantoms(np.stack(images), (), np.zeros((count, 0)), np.stack(labels))

    def runs(self, asked: Phantoms, conditions: Mapping[str, Mapping], folder: Path, seed: int) -> list[Run]:
        paths = []
        for number, labels in enumerate(asked.labels):
            paths.append(str(folder / f"sub-{number:04d}.png"))
            write_bytes(paths[-1], png_bytes(labels))
        # A run has one style, that of a phantom which its seed draws.
        parts, shared = groups(len(paths)), {"label_table": "synthzoo", "style": "T1w"}
        return [{"images": [paths[row] for row in part], **shared, "seed": seed + n} for n, part in enumerate(parts)]

    def read(self, path: Path) -> np.ndarray:
        return read_picture(path).levels[0]


def no_labels(count: int) -> np.ndarray:
    """Label maps of phantoms that need none."""
    return np.zeros((count, 0, 0), np.uint8)


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        title: what is generated.
        bundle: that generates it; a row whose bundle is not there yet is not measured.
        method: "LDM" or "GAN".
        modality: see `Modality`.
        requested: how, in words.
    """

    title: str
    bundle: str
    method: str
    modality: Modality
    requested: str


AS_HELD_OUT = "with the conditions of held-out phantoms"
ROWS: dict[str, Row] = {
    "brain_mr": Row("brain MR", "brain_mr_synthesis_ldm", "LDM", Volumes(Brains(), "T1w.nii.gz"), AS_HELD_OUT),
    "chest_ct": Row(
        "chest CT", "chest_ct_synthesis_ldm", "LDM", Volumes(Chests(), "ct.nii.gz", WINDOW_HU), AS_HELD_OUT
    ),
    "chest_xr": Row(
        "chest radiograph",
        "chest_xr_grounding_text2image",
        "LDM",
        PromptedRadiographs(),
        "by prompts that name the findings of held-out phantoms",
    ),
    "chest_xr_distilled": Row(
        "chest radiograph, of a distilled model of 16 patients",
        "chest_xr_privacy_distillation",
        "LDM",
        Radiographs(),
        AS_HELD_OUT,
    ),
    "echo": Row("echo frames", "echo_us_cine_synthesis_ldm", "LDM", Videos(), AS_HELD_OUT),
    "echo_joint": Row(
        "echo frames, image and video model jointly", "echo_us_cine_synthesis_jvid", "LDM", Videos(), AS_HELD_OUT
    ),
    "brain_mr_gan": Row(
        "brain MR slices, painter of brainSPADE",
        "brain_mr_synthesis_spade",
        "GAN",
        PaintedSlices(),
        "from the label maps of held-out phantoms, in eight styles",
    ),
    "echo_gan": Row(
        "echo frames, D'ARTAGNAN",
        "echo_us_counterfactual_twin",
        "GAN",
        EditedVideos(),
        "from held-out videos, with eight other ejection fractions",
    ),
}
