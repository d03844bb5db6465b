"""Audit of a distillation: who is re-identified in which set, by which network, and what the sets are worth.

Sets: the protected patients exposed again (the ceiling), unseen patients (the floor), samples of the teacher, what the
filter kept, as many at random, samples of the student and of the control. Judges: the filter's own network, whose word
on the kept set is circular; a second one of another seed and architecture; the zoo's instrument, of other patients
altogether; and raw pixels, which find copies alone. Controls: first weights, shuffled patients or labels, and samples
without a label.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from synthzoo.errors import UserError
from synthzoo.evaluation.base import Evaluation, Found
from synthzoo.metrics.memorisation import squared_distances
from synthzoo.metrics.reidentification import auc, auc_interval, pixel_scores
from synthzoo.networks.first_weights import with_first_weights
from synthzoo.networks.weights import load_weights
from synthzoo.systems.privacy_distillation.chain import SUMMARY, as_images
from synthzoo.systems.privacy_distillation.downstream import areas, predict, train_classifier
from synthzoo.systems.privacy_distillation.figures import draw_sets
from synthzoo.systems.privacy_distillation.filter import (
    Calibrated,
    Judge,
    ReidJudge,
    clopper_pearson,
    instrument_judge,
)
from synthzoo.systems.privacy_distillation.radiographs import LABELS, LabelledRadiographs
from synthzoo.systems.privacy_distillation.stages import load_stage
from synthzoo.systems.privacy_distillation.synthesis import make_set

NEAR_COPY = 0.5  # distance to the nearest over that to the second nearest training image
SMALL = 32  # pixels of a side on which distances of images are taken
TIMED = 8  # samples in one batch
TITLES = {
    "patients": "the protected patients, exposed again (ceiling)",
    "unseen": "unseen patients (floor)",
    "teacher": "teacher's samples",
    "kept": "kept by the filter",
    "unfiltered": "as many of the teacher's at random",
    "student": "student's samples",
    "control": "control's samples",
    "unprompted": "student's samples, no label requested (control)",
    "real": "the teacher's own training images",
    "real_shuffled": "the same, labels shuffled (control)",
    "student_shuffled": "student's samples, labels shuffled (control)",
    "untrained": "nothing: a classifier with its first weights (control)",
}
UNTRAINED = "filter, first weights (control)"


class DistillationEvaluation(Evaluation):
    """Measures the sets of a distillation.

    Args:
        distillation_dir: `work_dir` of `Distillation`.
        bundle: folder of the bundle.
        classifier_steps: of each downstream training; classifiers are trained with `seeds` seeds each.
        seeds: see there.
        percentile: of unseen patients' best scores.
        figure: picture of nearest pairs, or None.
        shared: see `Evaluation`.

    Raises:
        UserError: a distillation that did not come to its end, or whose filter had another percentile.
    """

    PARTS = ("networks", "reidentification", "along", "copies", "downstream", "kept", "speed")

    def __init__(
        self,
        distillation_dir: str | Path,
        bundle: str | Path,
        classifier_steps: int = 300,
        seeds: int = 2,
        percentile: float = 95.0,
        figure: str | Path | None = None,
        **shared: Any,
    ) -> None:
        path = Path(distillation_dir) / SUMMARY
        if not path.is_file():
            raise UserError(
                f"distillation_dir {distillation_dir} has no {SUMMARY}: run configs/distill.json first, which makes it."
            )
        self.known = json.loads(path.read_text(encoding="utf-8"))
        filtered = float(self.known.get("percentile", percentile))
        if filtered != float(percentile):
            raise UserError(
                f"percentile is {percentile:g}, but the samples in {distillation_dir} were filtered with {filtered:g}: "
                f"add --percentile {filtered:g}, or run configs/distill.json with --percentile {percentile:g}."
            )
        settings = {"known": self.known, "classifier_steps": classifier_steps, "seeds": seeds, "percentile": percentile}
        super().__init__(settings=settings, **shared)
        self.bundle, self.figure = bundle, figure
        self.classifier_steps, self.seeds, self.percentile = int(classifier_steps), int(seeds), float(percentile)

    # --- data and judges --------------------------------------------------------------------------------------------

    def radiographs(self, split: str) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
        """Images (N, 1, S, S), conditions (N, K) and patients (N,) of a split of the private radiographs."""
        settings = {**self.known["private"], "split": split}
        if split != "train":
            settings["patients"] = None
        data = LabelledRadiographs(**settings)
        rows = [data[row] for row in range(len(data))]
        return (
            torch.stack([row["image"] for row in rows]),
            torch.stack([row["conditions"] for row in rows]),
            np.array([row["patient"] for row in rows]),
        )

    @cached_property
    def training(self) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
        """What the teacher was trained on."""
        return self.radiographs("train")

    @cached_property
    def held(self) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
        """Unseen patients who set thresholds."""
        return self.radiographs("validation")

    @cached_property
    def test(self) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
        """Unseen patients on whom all is measured."""
        return self.radiographs("test")

    @cached_property
    def sets(self) -> dict[str, dict[str, torch.Tensor]]:
        """The synthetic sets by name."""
        folder = Path(self.known["filter"])
        places = {
            "teacher": Path(self.known["synthesis"]),
            "kept": folder / "kept.pt",
            "unfiltered": folder / "unfiltered.pt",
            "student": Path(self.known["student_samples"]),
            "control": Path(self.known["control_samples"]),
        }
        return {name: torch.load(path, weights_only=True) for name, path in places.items()}

    @cached_property
    def judges(self) -> dict[str, Judge]:
        """Similarities of radiographs by name, in the order of the tables."""
        found: dict[str, Judge] = {}
        for name, overlays in (("filter", ()), ("second", ("train_teacher", "reid", "second_reid"))):
            config = load_stage(self.bundle, overlays, self.known["overrides"])
            weights = self.known["reid" if name == "filter" else "second"]
            found[name] = ReidJudge(load_weights(config.get_parsed_content("network_def"), weights, self.device))
        found["instrument"] = instrument_judge
        found["pixels"] = lambda one, other: pixel_scores(small(one), small(other))
        return found

    @cached_property
    def calibrated(self) -> dict[str, Calibrated]:
        """Each judge with the protected patients and the threshold that unseen ones give."""
        return {
            name: Calibrated(judge, self.training[0], self.held[0], self.percentile)
            for name, judge in self.judges.items()
        }

    def images(self) -> dict[str, torch.Tensor]:
        """All sets that are judged, images (N, 1, S, S)."""
        again = LabelledRadiographs(**self.other_images())
        same = torch.stack([again[row]["image"] for row in range(len(again))])
        found = {"patients": same, "unseen": self.test[0]}
        found |= {name: as_images(value["images"]) for name, value in self.sets.items()}
        return found | {"unprompted": self.unprompted}

    @cached_property
    def unprompted(self) -> torch.Tensor:
        """As many samples of the student as its set has, images (N, 1, S, S), without a label: what labels add."""
        known = self.sets["student"]["conditions"]
        unset = torch.full((1, known.shape[1]), torch.nan)
        made = make_set(self.network, self.inferer, unset, len(known), self.folder / "unprompted")
        return as_images(made["images"])

    def other_images(self) -> dict[str, Any]:
        """Arguments for images of the protected patients that the teacher did not see, where phantoms can have them."""
        settings = dict(self.known["private"])
        if settings.get("data_format", "phantom") == "phantom":
            # The same studies exposed otherwise.
            settings["phantom"] = {**settings["phantom"], "exposures": "fresh"}
            np.random.seed(1)
        return settings

    # --- parts ------------------------------------------------------------------------------------------------------

    def networks(self) -> Found:
        """How well each judge tells unseen patients apart."""
        found, rows = Found(), []
        images = torch.cat([self.held[0], self.test[0]])
        owners = np.concatenate([self.held[2], self.test[2]])
        upper = np.triu(np.ones((len(owners), len(owners)), bool), 1)
        shuffled, own = np.random.default_rng(0).permutation(owners), self.judges["filter"]
        compared = {name: (f"reid_auroc_{name}", judge, owners) for name, judge in self.judges.items()}
        if isinstance(own, ReidJudge):
            compared[UNTRAINED] = ("reid_auroc_untrained", ReidJudge(with_first_weights(own.network)), owners)
        compared["filter, patients shuffled (control)"] = ("reid_auroc_shuffled", own, shuffled)
        for title, (figure, judge, patients) in compared.items():
            alike, scores = patients[:, None] == patients[None], judge(images, images)
            same, other = scores[alike & upper], scores[~alike & upper]
            low, high = auc_interval(same, other[:: max(1, len(other) // 5000)], draws=200)
            found.figures[figure] = round(auc(same, other), 4)
            rows.append([title, found.figures[figure], f"{low:.3f} to {high:.3f}", len(same), len(other)])
        columns = ["network", "AUROC", "95 % interval", "pairs of one patient", "pairs of two"]
        found.add("Do two studies show one patient? Pairs of patients whom no network saw", columns, rows)
        return found

    def reidentification(self) -> Found:
        """R of every set by every judge."""
        found, rows = Found(), []
        sets = self.images()
        columns = ["set", "images"]
        for judge in self.judges:
            columns += [judge, "95 % interval"]
        for name, images in sets.items():
            row = [TITLES[name], len(images)]
            for judge, calibrated in self.calibrated.items():
                ratio = calibrated.ratio(images)
                row += [round(ratio.share, 4), f"{ratio.low:.3f} to {ratio.high:.3f}"]
                found.figures[f"r_{name}_{judge}"] = round(ratio.share, 4)
            rows.append(row)
        for judge in self.judges:
            for name in ("student", "control"):
                shares = found.figures[f"r_{name}_{judge}"], found.figures[f"r_teacher_{judge}"]
                found.figures[f"r_share_{name}_{judge}"] = over(*shares)
        title = (
            f"Re-identification ratio: share nearer to a protected patient than {self.percentile:g} % of unseen ones"
        )
        found.add(title, columns, rows)
        return found

    def along(self) -> Found:
        """R along the training of the teacher: its length is a privacy parameter."""
        found, rows = Found(), []
        sets = {int(n): torch.load(path, weights_only=True) for n, path in self.known["along"].items()}
        for iteration, made in sorted(sets.items()):
            images = as_images(made["images"])
            row: list[Any] = [iteration, len(images)]
            for judge, calibrated in self.calibrated.items():
                ratio = calibrated.ratio(images)
                row += [round(ratio.share, 4), f"{ratio.low:.3f} to {ratio.high:.3f}"]
                found.figures[f"r_at_{iteration}_{judge}"] = round(ratio.share, 4)
            rows.append(row)
        columns = ["iterations", "samples"]
        for judge in self.judges:
            columns += [judge, "95 % interval"]
        found.add("Re-identification ratio along the teacher's training", columns, rows)
        return found

    def copies(self) -> Found:
        """Samples that lie twice as near to one training image as to any other."""
        found, rows = Found(), []
        training = small(self.training[0])
        for name, images in self.images().items():
            found_nearest = np.sort(np.sqrt(np.maximum(squared_distances(small(images), training), 0)), 1)
            ratios = found_nearest[:, 0] / np.maximum(found_nearest[:, 1], 1e-9)
            share = clopper_pearson(int((ratios < NEAR_COPY).sum()), len(ratios))
            interval = f"{share.low:.3f} to {share.high:.3f}"
            rows.append(
                [TITLES[name], len(ratios), round(share.share, 4), interval, round(float(np.median(ratios)), 4)]
            )
            found.figures[f"near_copies_{name}"] = round(share.share, 4)
        shares = found.figures["near_copies_student"], found.figures["near_copies_teacher"]
        found.figures["near_copies_share_student"] = over(*shares)
        columns = ["set", "images", "near copies", "95 % interval", "median of nearest / second nearest"]
        found.add(f"Near copies by pixels: nearest / second nearest training image < {NEAR_COPY}", columns, rows)
        return found

    def downstream(self) -> Found:
        """A classifier trained on each set, on real radiographs of unseen patients."""
        found, rows = Found(), []
        images, conditions, _ = self.test
        names = LABELS[:-1]
        truth = conditions[:, : len(names)].numpy()
        sets = {"real": (self.training[0], self.training[1])}
        sets |= {name: (as_images(value["images"]), value["conditions"]) for name, value in self.sets.items()}
        for name in ("real", "student"):
            pictures, labels = sets[name]
            order = torch.from_numpy(np.random.default_rng(1).permutation(len(labels)))
            sets[f"{name}_shuffled"] = pictures, labels[order]
        sets["untrained"] = self.training[0][:0], self.training[1][:0]
        for name, (pictures, labels) in sets.items():
            runs, steps = [], self.classifier_steps if len(pictures) else 0
            for seed in range(self.seeds):
                network = train_classifier(pictures, labels[:, : len(names)], steps, seed=seed)
                runs.append([np.nan if area is None else area for area in areas(predict(network, images), truth)])
            each = np.mean(runs, 0)
            mean = float(np.nanmean(each))
            rows.append(
                [
                    TITLES[name],
                    len(pictures),
                    round(mean, 4),
                    *(None if np.isnan(a) else round(float(a), 4) for a in each),
                ]
            )
            found.figures[f"auroc_{name}"] = round(mean, 4)
        found.figures["auroc_lost"] = round(found.figures["auroc_teacher"] - found.figures["auroc_student"], 4)
        counts = [f"{name} ({int((truth[:, column] == 1).sum())})" for column, name in enumerate(names)]
        title = f"AUROC of findings in {len(images)} radiographs of unseen patients, by what a classifier learnt from"
        found.add(title, ["trained on", "images", "mean", *counts], rows)
        return found

    def kept(self) -> Found:
        """What the filter kept, by finding and sex."""
        found = Found()
        report = json.loads((Path(self.known["filter"]) / "filter.json").read_text(encoding="utf-8"))
        found.figures |= {"kept": report["kept"], "kept_share": round(report["kept"] / report["samples"], 4)}
        for name, _, present, _, absent in report["by_label"]:
            if name == "sex":
                found.figures |= {"kept_share_m": present, "kept_share_f": absent}
        rows = [["all", report["samples"], found.figures["kept_share"], None, None], *report["by_label"]]
        for row in rows:
            row[0] = "sex: M, then F" if row[0] == "sex" else row[0]
        columns = ["finding", "samples with it", "kept", "samples without it", "kept"]
        found.add("Share of the teacher's samples that the filter kept", columns, rows)
        return found

    def speed(self) -> Found:
        """Seconds of a sample with the bundle's settings."""
        noise = torch.randn(TIMED, *self.network.latent_shape, device=self.device)
        self.inferer(noise[:1], self.network)
        start = self.clock()
        self.inferer(noise, self.network)
        return Found(figures={f"seconds_per_sample_{self.kind_of_device}": round((self.clock() - start) / TIMED, 3)})

    def draw(self, found: Mapping[str, Found]) -> None:
        """Samples of each set above their nearest training images."""
        if self.figure is None:
            return
        training, judge = self.training[0], self.judges["instrument"]
        pictures = {}
        for name in ("teacher", "kept", "student"):
            images = as_images(self.sets[name]["images"][:6])
            pictures[TITLES[name]] = (images, training[torch.from_numpy(judge(images, training).argmax(1))])
        draw_sets(pictures, self.figure)

    def reported_settings(self) -> dict[str, Any]:
        """Patients and samples behind the figures."""
        counts = {"private_patients": len(set(self.training[2])), "private_images": len(self.training[0])}
        counts |= {"unseen_for_thresholds": len(self.held[0]), "unseen_measured": len(self.test[0])}
        return counts | {name: len(value["images"]) for name, value in self.sets.items()}


def over(share: float, teacher: float) -> float:
    """A share over the teacher's; 1 where the teacher's is 0, of which nothing can be taken away."""
    return round(share / teacher, 4) if teacher else 1.0


def small(images: torch.Tensor, size: int = SMALL) -> np.ndarray:
    """Radiographs (N, 1, S, S) as rows of mean 0 and standard deviation 1 on a small grid, float64 (N, size^2)."""
    rows = torch.nn.functional.interpolate(images, (size, size), mode="area").flatten(1).double().numpy()
    rows = rows - rows.mean(1, keepdims=True)
    return rows / np.maximum(rows.std(1, keepdims=True), 1e-6)
