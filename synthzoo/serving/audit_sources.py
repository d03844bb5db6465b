"""What an audit of a bundle compares: its samples, the training images of its own configs, and unseen ones.

The zoo's bundles are trained on phantoms, which their configs draw from seeds: the same rows are drawn again, and rows
of the split "validation" are the hold-out. A bundle from elsewhere is run as it stands, and its training images must be
given.
"""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.bundle import ConfigParser
from torch.utils.data import Subset

from synthzoo.bundle.compose import load_config, run_bundle
from synthzoo.bundle.find import find_bundles, read_json, read_metadata
from synthzoo.bundle.inspect.judge import inspect_bundle
from synthzoo.bundle.inspect.rules import REFUSE
from synthzoo.bundle.order import walk
from synthzoo.datasets.brain.label_slices import PaintedSlices
from synthzoo.datasets.brain.label_volumes import PaintedVolumes
from synthzoo.datasets.chest.ct import ChestCTDataset
from synthzoo.datasets.chest.sources import training_radiographs
from synthzoo.datasets.echo.training_clips import training_clips
from synthzoo.datasets.sources import training_images
from synthzoo.errors import UserError
from synthzoo.evaluation.privacy.sets import ImageSet, chosen, row_set
from synthzoo.evaluation.privacy.spaces import FeatureSpace, IdentitySpace
from synthzoo.instruments.brain.identity import brain_features
from synthzoo.instruments.chest.identity import radiograph_features
from synthzoo.io.files import write_text
from synthzoo.io.nifti import write_nifti
from synthzoo.io.videos import write_avi
from synthzoo.phantoms.brain.painting import draw_scan, paint_maps
from synthzoo.phantoms.brain.pool import SPACING_MM
from synthzoo.serving.generation import generate_dataset

GENERATORS = ("synthesis", "counterfactual", "translation")


class ChestRows(Subset):
    """Radiographs of the first patients of a split of a pool of chest phantoms, one exposure a study.

    Attributes:
        owners: whose each is.

    Args:
        split: "train", "validation" or "test".
        patients: how many, at most.
        size: of the images.
        phantom: settings of `ChestPhantomDataset`, as in training; the pool is that of the training.
        data_format: "phantom".
        cache_dir: keeps the pool, or None.
    """

    def __init__(
        self,
        split: str = "train",
        patients: int | None = None,
        size: int = 128,
        phantom: Mapping[str, Any] | None = None,
        data_format: str = "phantom",
        cache_dir: str | None = None,
    ) -> None:
        once = {"exposures": "fixed", "copies": 1, "cache_dir": cache_dir}
        whole = training_radiographs(data_format, split=split, size=size, phantom={**dict(phantom or {}), **once})
        owners = [whole.record(row)["patient"] for row in range(len(whole))]
        first = set(list(dict.fromkeys(owners))[:patients])
        super().__init__(whole, [row for row, owner in enumerate(owners) if owner in first])
        self.owners = [owners[row] for row in self.indices]

    def prompts(self, count: int) -> list[str]:
        """What so many of the rows show, in the words of their reports; the rows are drawn evenly."""
        chosen = [self.dataset.truth(self.indices[row * len(self) // count]) for row in range(count)]
        return [" and ".join(phrase for phrase in truth["phrases"] if phrase) for truth in chosen]


class SliceRows(PaintedSlices):
    """Label slices of a pool of brain phantoms, each painted once in the contrast in which the bundle paints.

    What a generator of label maps repeats is anatomy, which no other contrast may hide.

    Attributes:
        owners: whose each is.

    Args:
        split, subjects, slices, cache_dir: of the pool, see `LabelSlices`.
        style: contrast, as inference.json has it.
        data_format: "phantom".
    """

    def __init__(
        self,
        split: str = "train",
        subjects: int = 320,
        slices: int = 16,
        style: str = "T1w",
        data_format: str = "phantom",
        cache_dir: str | None = None,
    ) -> None:
        super().__init__([style], True, split=split, subjects=subjects, slices=slices, cache_dir=cache_dir)
        self.owners = [row // slices for row in range(len(self))]


class VolumeRows(PaintedVolumes):
    """Label volumes of a pool of brain phantoms and their mirror images, both of which training saw, painted once.

    Attributes:
        owners: whose each is.

    Args:
        split, subjects, cache_dir: of the pool, see `LabelVolumes`.
        style: contrast, as inference.json has it.
        data_format: "phantom".
    """

    def __init__(
        self,
        split: str = "train",
        subjects: int = 320,
        style: str = "T1w",
        data_format: str = "phantom",
        cache_dir: str | None = None,
    ) -> None:
        super().__init__([style], True, split=split, subjects=subjects, cache_dir=cache_dir)
        self.owners = [row % len(self.pool) for row in range(len(self))]


class ContrastRows(VolumeRows):
    """Label volumes of a pool of brain phantoms and their mirror images, painted once in the contrast of targets.

    Args:
        split, subjects, data_format, cache_dir: see `VolumeRows`.
        source, target: contrasts, as inference.json has them.
    """

    def __init__(
        self,
        split: str = "train",
        subjects: int = 240,
        source: str = "FLAIR",
        target: str = "T1w",
        data_format: str = "phantom",
        cache_dir: str | None = None,
    ) -> None:
        super().__init__(split, subjects, target, data_format, cache_dir)
        self.contrast = source

    def scan(self, row: int) -> np.ndarray:
        """The brain of a row as a scan to translate, float32 (X, Y, Z) in [0, 1]."""
        rng = np.random.default_rng([79, row])
        scan = draw_scan(self.contrast, rng, self.subject(row).age)
        return paint_maps(np.ascontiguousarray(self.labels(row, rng)), scan, rng).clip(0, 1)


def request_lines(
    rows: SliceRows | VolumeRows | ChestCTDataset, count: int, seed: int, conditions: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """A table of requests, header first, as so many of the rows have them, drawn at random, within the bounds.

    For conditions of which most are 0 in any one subject, so that their ranges drawn evenly ask for what no one has.
    """
    facts = rows.truth if isinstance(rows, (SliceRows, VolumeRows)) else rows.facts
    found = ["\t".join(conditions)]
    for row in np.random.default_rng([seed, 83]).choice(len(rows), count, replace=count > len(rows)):
        values = facts(int(row))["conditions"].tolist()
        bounds = [(rule["minimum"], rule["maximum"]) for rule in conditions.values()]
        clipped = (min(max(value, low), high) for value, (low, high) in zip(values, bounds, strict=True))
        found.append("\t".join(f"{value:.4g}" for value in clipped))
    return found


# Argument of a training data set that only this function takes -> the function, and its argument that counts patients.
SOURCES: dict[str, tuple[Callable[..., Any], str]] = {
    "dims": (VolumeRows, "subjects"),
    "targets": (ContrastRows, "subjects"),
    "contrasts": (SliceRows, "subjects"),
    "conditions": (training_images, "size"),
    "phantom": (ChestRows, "patients"),
    "patients": (training_clips, "patients"),
}
# Anatomy and modality -> what tells patients apart where no bundle does, and the kind of images that it takes.
INSTRUMENTS: dict[str, tuple[Callable[[Sequence[np.ndarray]], np.ndarray], str]] = {
    "chest_xr": (radiograph_features, "image"),
    "brain_mr": (brain_features, "volume"),
}
PROMPTS = 16  # different ones of an audit
LEVELS = 4  # values of a condition that is one for all images of a run


class Source:
    """The training images of one of the zoo's bundles, drawn again.

    Args:
        bundle: its folder.
        cache_dir: keeps phantoms, or None.

    Raises:
        UserError: no training config says what the images are.
    """

    def __init__(self, bundle: Path, cache_dir: str | None = None) -> None:
        self.bundle = bundle
        found = [one for one in (_training_arguments(bundle, stages) for stages in _stages(bundle)) if one]
        if not found:
            raise UserError(
                f"{bundle.name}: its training configs name no data set that can be drawn again: give --training FOLDER."
            )
        # Of several stages the one that saw most: what any part of the network has seen can leak.
        self.make, self.count, self.arguments = max(found, key=lambda one: int(one[2][one[1]]))
        if str(self.arguments.get("data_format", "phantom")) != "phantom":
            raise UserError(f"{bundle.name} was not trained on phantoms: give --training FOLDER --holdout FOLDER.")
        self.arguments = {**self.arguments, "cache_dir": cache_dir}

    def rows(self, split: str, patients: int | None = None) -> Any:
        """The data set of a split, with as many patients as in training or fewer; a pool has unseen ones of its own."""
        count = int(self.arguments[self.count])
        wanted = patients or count
        if split == "train" or self.make is not ChestRows:
            wanted = min(wanted, count)
        return self.make(**{**self.arguments, "split": split, self.count: wanted})

    def training(self, limit: int | None = None) -> ImageSet:
        """The training images, or so many of them, drawn at random."""
        rows = self.rows("train")
        return row_set(rows, "training", chosen(len(rows), limit))

    def holdout(self, images: int) -> ImageSet:
        """About so many images of unseen patients, as many of each as in training."""
        of_each = max(1, round(len(self.rows("train")) / int(self.arguments[self.count])))
        return row_set(self.rows("validation", max(1, images // of_each)), "hold-out")


def instrument_for(bundle: str, root: str | Path) -> IdentitySpace | FeatureSpace | None:
    """The re-identification network of a bundle's domain: of a bundle of the task privacy_audit, else the library's own
    instrument, else None.

    A bundle is found by its name, `<anatomy>_<modality>_privacy_audit_<method>`, and by its network, which compares
    embeddings with `logits`; an instrument by the domain in `INSTRUMENTS`.

    Args:
        bundle: name of the bundle that is audited, of the instrument's bundle, or a domain such as "chest_xr".
        root: of the bundles.
    """
    domain = "_".join(bundle.split("_")[:2])
    for folder in find_bundles(root):
        if folder.name.startswith(f"{domain}_privacy_audit_"):
            parser = load_config(folder)
            network = parser.get_parsed_content("network")
            if hasattr(network, "logits") and getattr(network, "channels", 1) == 1:
                return IdentitySpace(network, int(parser.get("size", 32)), folder.name)
    return FeatureSpace(INSTRUMENTS[domain][0], domain, INSTRUMENTS[domain][1]) if domain in INSTRUMENTS else None


def is_own(bundle: Path) -> bool:
    """Whether a generative bundle is of this zoo and knows what it was trained on.

    Raises:
        UserError: it is of this zoo and generates nothing.
    """
    block = read_metadata(bundle).get("synthzoo")
    if block is not None and not generates(block):
        raise UserError(
            f"{bundle.name} is a bundle for {block.get('task')} and generates no images: give one for "
            f"{', '.join(GENERATORS)}, or --samples and --training."
        )
    return block is not None


def generates(block: Mapping[str, Any]) -> bool:
    """Whether a bundle, by the `synthzoo` block of its metadata, makes images of its own.

    One that brings a scan to a finer grid does not: outside of the scan's own detail there is nothing that it shows.
    """
    if makes_finer(block):
        return False
    return block.get("task") in GENERATORS or makes_images_alone(block)


def makes_finer(block: Mapping[str, Any]) -> bool:
    """Whether a bundle brings scans, as they are stored, to a finer grid."""
    return any(rule.get("finer_grid") for rule in block.get("outputs", {}).values())


def makes_images_alone(block: Mapping[str, Any]) -> bool:
    """Whether a bundle that takes images generates where none is given."""
    return any(rule.get("without_images") for rule in block.get("outputs", {}).values())


def takes_patients(bundle: Path) -> bool:
    """Whether a generative bundle makes each of its images from one of a patient."""
    config = read_json(bundle / "configs" / "inference.json")
    return "requests" not in config and not makes_images_alone(read_metadata(bundle)["synthzoo"])


def make_samples(bundle: Path, out: Path, num_samples: int, seed: int, source: Source | None) -> None:
    """Generate samples into a folder; what is complete there is not generated again.

    Args:
        bundle: folder of a generative bundle.
        out: folder of the samples.
        num_samples: how many.
        seed: of the conditions, which are those of training slices or drawn evenly from their range, and of the noise.
        source: of a bundle that takes images: it is given unseen patients' images of the split "test".

    Raises:
        UserError: a bundle that is refused by the inspection, or that does not run.
    """
    block = read_metadata(bundle).get("synthzoo")
    if block is None:
        _run_stock(bundle, out, num_samples, seed)
        return
    conditions = block.get("conditions", {})
    if "requests" in read_json(bundle / "configs" / "inference.json"):
        rows = (
            source.rows("train")
            if source is not None and source.make in (SliceRows, VolumeRows, training_images)
            else None
        )
        if isinstance(rows, (SliceRows, VolumeRows, ChestCTDataset)):
            table = out.with_name(f"{out.name}_requests.tsv")
            lines = request_lines(rows, num_samples, seed, conditions)
            write_text(table, "\n".join(lines) + "\n")
            generate_dataset(bundle, out, requests=table, seed=seed)
            return
        settings = {name: _whole_range(rule) for name, rule in conditions.items()}
        generate_dataset(bundle, out, num_samples, seed=seed, settings=settings)
    elif makes_images_alone(block):
        _run_on_prompts(bundle, out, num_samples, seed, source)
    else:
        _run_on_images(bundle, out, num_samples, seed, conditions, source)


def _whole_range(rule: Mapping[str, Any]) -> Any:
    return rule["enum"] if "enum" in rule else f"{rule['minimum']},{rule['maximum']}"


def _run_on_prompts(bundle: Path, out: Path, count: int, seed: int, source: Source | None) -> None:
    """Generate from what training images show, which asks for them as plainly as a prompt can."""
    if source is None:
        raise UserError(f"{bundle.name} was given other training images: generate from their reports; give --samples.")
    prompts = source.rows("train").prompts(min(PROMPTS, count))
    for number, prompt in enumerate(prompts):
        own = count // len(prompts) + (number < count % len(prompts))
        run = {"images": "", "prompt": prompt, "num_samples": own, "seed": seed + 1000 * number}
        run_bundle(bundle, overrides={**run, "output_dir": str(out / f"prompt-{number:02d}")})


def _run_on_images(
    bundle: Path, out: Path, count: int, seed: int, conditions: Mapping[str, Mapping[str, Any]], source: Source | None
) -> None:
    if source is None:
        raise UserError(f"{bundle.name} takes images: run it on images of unseen patients and give --samples FOLDER.")
    if source.make is ContrastRows:
        _run_on_scans(bundle, out, count, seed, source.rows("test", -(-count // 2)))
        return
    rows = source.rows("test", count)
    paths = []
    for number in range(min(count, len(rows))):
        path = out.with_name(f"{out.name}_inputs") / f"unseen-{number:04d}.avi"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_avi(path, np.uint8((255 * rows[number]["video"][0].numpy()).round()), rows.fps)
        paths.append(str(path))
    name, rule = next((name, rule) for name, rule in conditions.items() if {"minimum", "maximum"} <= set(rule))
    for level, value in enumerate(np.linspace(rule["minimum"], rule["maximum"], LEVELS + 2)[1:-1]):
        part = paths[level::LEVELS]
        if part:
            run = {"images": part, name: float(round(value)), "output_dir": str(out / f"level-{level}"), "seed": seed}
            run_bundle(bundle, overrides=run)


def _run_on_scans(bundle: Path, out: Path, count: int, seed: int, rows: ContrastRows) -> None:
    """Translate scans of unseen phantoms, each and its mirror image."""
    paths = []
    for number in range(min(count, len(rows))):
        path = out.with_name(f"{out.name}_inputs") / f"unseen-{number:04d}.nii.gz"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_nifti(path, rows.scan(number), np.diag([SPACING_MM] * 3 + [1.0]))
        paths.append(str(path))
    run_bundle(bundle, overrides={"images": paths, "output_dir": str(out), "seed": seed})


def _run_stock(bundle: Path, out: Path, count: int, seed: int) -> None:
    """Run a bundle from elsewhere `count` times in processes of their own, each from a seed of its own."""
    found = inspect_bundle(bundle)
    by_hand = "make samples by its own instructions and give --samples FOLDER --training FOLDER"
    if found.verdict == REFUSE:
        raise UserError(f"{bundle}: scripts/inspect_bundle.py refuses this bundle, so it is not run; {by_hand}.")
    config = bundle / "configs" / "inference.json"
    if not config.is_file():
        raise UserError(f"{bundle} has no configs/inference.json: {by_hand}.")
    code = (
        "import sys; from monai.bundle import run; from monai.utils import set_determinism; "
        "set_determinism(int(sys.argv[1]))"
        "; run(config_file='configs/inference.json', meta_file='configs/metadata.json', bundle_root='.', "
        "output_dir=sys.argv[2])"
    )
    for number in range(count):
        place = out.resolve() / f"sample-{number:04d}"
        if place.is_dir() and any(place.rglob("*")):
            continue
        place.mkdir(parents=True, exist_ok=True)
        words = [sys.executable, "-c", code, str(seed * count + number), str(place)]
        done = subprocess.run(words, cwd=bundle, capture_output=True, text=True, encoding="utf-8", errors="replace")
        if done.returncode or not any(path.is_file() for path in place.rglob("*")):
            said = (done.stderr.strip().splitlines() or ["nothing was written"])[-1][:200]
            raise UserError(f"{bundle}: configs/inference.json gave no image ({said}): {by_hand}.")


def _stages(bundle: Path) -> list[list[str]]:
    """The training configs in the ways in which they lie on each other: alone, or on the one that is complete."""
    configs = {path.stem: read_json(path) for path in sorted((bundle / "configs").glob("train*.json"))}
    whole = [stem for stem, config in configs.items() if isinstance(config.get("train"), Mapping)]
    return [[stem] for stem in whole] + [[base, stem] for base in whole for stem in configs if stem not in whole]


def _training_arguments(bundle: Path, stages: list[str]) -> tuple[Callable[..., Any], str, dict[str, Any]] | None:
    """The function that makes a stage's training images, its argument that counts patients, and its arguments."""
    try:
        parser = load_config(bundle, stages)
    except KeyError:  # a stage on one that it does not lie over: what it changes is not there
        return None
    train: ConfigParser | Any = parser.get("train", {})
    # What the data set is made of may stand beside it.
    for where, one in [*walk(train.get("dataset", {}), "train#dataset"), *walk(train, "train")]:
        if not isinstance(one, Mapping) or "data_format" not in one:
            continue
        for own, (make, count) in SOURCES.items():
            # Healthy slices for anomaly tasks have a "phantom", too, which counts no patients.
            if own in one and (count in one or count in (one[own] if isinstance(one[own], Mapping) else ())):
                known = inspect.signature(make).parameters
                try:
                    arguments = {key: parser.get_parsed_content(f"{where}#{key}") for key in one if key in known}
                except ValueError:  # a stage on one that it does not lie over: what it refers to is not there
                    return None
                if count not in arguments:
                    arguments[count] = parser.get_parsed_content(f"{where}#{own}#{count}")
                arguments |= {key: parser.get(key) for key in ("style", "source", "target") if key in known}
                if "like" in known and "like" not in arguments:
                    arguments["like"] = parser.get_parsed_content("network_def")
                return make, count, arguments
    return None
