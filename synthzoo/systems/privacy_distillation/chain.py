"""The chain of Privacy Distillation in one run: each stage has a folder, named by all that decides its content.

    reid       re-identification network, on public patients
    second     the same with another seed and architecture, which judges alone
    teacher    DM1, on private patients
    synthesis  samples of the teacher
    filter     threshold on unseen patients; which samples are kept
    student    DM2, from scratch on what was kept, and its samples
    control    DM2', from scratch on as many samples at random, and its samples

A stage whose folder holds `done.json` is not run again; one that was killed goes on from its checkpoint or its last
part. Another setting, training set or weight is another folder, so nothing stale is ever taken.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from synthzoo.datasets.loader import seed_everything
from synthzoo.errors import UserError
from synthzoo.inferers.synthesis import SynthesisInferer
from synthzoo.io.files import plain, sha256, write_bytes, write_json, write_text
from synthzoo.networks.latent_images import SHARED
from synthzoo.networks.saving import save_atomically
from synthzoo.networks.weights import load_weights, read_state
from synthzoo.systems.privacy_distillation.filter import Calibrated, ReidJudge, kept_by_label
from synthzoo.systems.privacy_distillation.network import LabelDiffusion
from synthzoo.systems.privacy_distillation.radiographs import LABELS, LabelledRadiographs
from synthzoo.systems.privacy_distillation.snapshots import snapshots
from synthzoo.systems.privacy_distillation.stages import literal, load_stage, run_stage
from synthzoo.systems.privacy_distillation.synthesis import chosen, make_set

DONE, SUMMARY = "done.json", "distillation.json"
DIGITS = 10
ALONG = 200  # samples of the teacher at each snapshot of its training
REID = ("train_teacher", "reid")
RESULTS = ("model.pt", "set.pt", "kept.pt", "unfiltered.pt", "filter.json", "synthetic.csv")
PLACES = ("bundle_root", "autoencoder_path", "public_path", "synthetic_path", "checkpoint_dir", "log_dir", "save_to")
INDIFFERENT = ("device", "cache_dir", "processes", "progress")  # settings that change no content
REFERENCE = re.compile(r"@(\w+(?:#\w+)*)")


class Distillation:
    """Runs what is missing of the chain and writes `distillation.json`, which says where everything lies.

    Args:
        bundle: folder of the bundle.
        work_dir: of the stages.
        private: arguments of `LabelledRadiographs` for the patients to be protected.
        public: those for the patients of the re-identification networks.
        autoencoder: weights whose autoencoder is taken, of public patients.
        inferer: that samples the sets.
        teacher_samples: size of the synthetic set.
        model_samples: samples of student and control, for the audit.
        percentile: of unseen patients' best scores.
        seed: of the whole chain.
        overrides: of all configs of the bundle, such as "latent_shape" for another image_size.
        stages: stage -> further overrides of its config; "evaluate" is the audit's.
        save_to: weights of the student.
        report: runs the evaluation at the end.

    Raises:
        UserError: a filter that keeps fewer than `batch_size` samples, and what the stages say.
    """

    def __init__(
        self,
        bundle: str | Path,
        work_dir: str | Path,
        private: Mapping[str, Any],
        public: Mapping[str, Any],
        autoencoder: str | Path,
        inferer: SynthesisInferer,
        teacher_samples: int = 3000,
        model_samples: int = 400,
        percentile: float = 95.0,
        seed: int = 0,
        overrides: Mapping[str, Any] | None = None,
        stages: Mapping[str, Mapping[str, Any]] | None = None,
        save_to: str | Path | None = None,
        report: bool = True,
    ) -> None:
        self.bundle, self.work_dir = Path(bundle), Path(work_dir)
        self.private, self.public, self.autoencoder = dict(private), dict(public), Path(autoencoder)
        self.inferer, self.teacher_samples, self.model_samples = inferer, int(teacher_samples), int(model_samples)
        self.percentile, self.seed = float(percentile), int(seed)
        self.overrides, self.stages = dict(overrides or {}), dict(stages or {})
        self.save_to, self.report = save_to, report

    def run(self) -> dict[str, Any]:
        """Run the chain; returns what `distillation.json` says."""
        if not self.autoencoder.is_file():
            raise UserError(
                f"autoencoder_path {self.autoencoder} does not exist: give weights of this bundle or of another whose "
                "autoencoder was trained on public radiographs."
            )
        public_parts = {"autoencoder_path": self.autoencoder}
        reid = self.train("reid", REID, public_parts, self.public)
        second = self.train("second", [*REID, "second_reid"], public_parts, self.public)
        teacher = self.train("teacher", ["train_teacher"], {"public_path": reid}, self.private)
        made = self.sample("synthesis", teacher, self.teacher_samples)
        filtered = self.filter(made, reid)
        found: dict[str, Any] = {"reid": reid, "second": second, "teacher": teacher, "synthesis": made}
        found["along"] = {
            iteration: self.sample(f"teacher_at_{iteration}", path, min(ALONG, self.teacher_samples))
            for iteration, path in snapshots(teacher.parent).items()
        }
        for name, kept in (("student", "kept.pt"), ("control", "unfiltered.pt")):
            inputs = {"public_path": reid, "synthetic_path": filtered / kept}
            found[name] = self.train(name, ["train_teacher", "student"], inputs, {})
            found[f"{name}_samples"] = self.sample(f"{name}_samples", found[name], self.model_samples)
        found |= {"filter": filtered, "private": self.private, "public": self.public, "overrides": self.overrides}
        found["percentile"] = self.percentile
        summary = plain(found)
        write_json(self.work_dir / SUMMARY, summary)
        if self.save_to:
            write_bytes(self.save_to, found["student"].read_bytes())
        if self.report:
            places = {"distillation_dir": self.work_dir, "weights": found["student"], "percentile": self.percentile}
            changed = {**self.overrides, **dict(self.stages.get("evaluate", {}))}
            run_stage(self.bundle, ["evaluate"], {**places, **changed})
        return summary

    # --- stages ---------------------------------------------------------------------------------------------------

    def stage(self, name: str, inputs: Mapping[str, Path], settings: Any, make: Callable[[Path], None]) -> Path:
        """The folder of a stage, after `make` has filled it where it was not whole.

        Args:
            name: of the stage.
            inputs: files that it reads, whose content counts, not their place.
            settings: all else that decides its content, in JSON's types.
            make: fills a folder.
        """
        read = {key: content_of(key, path) for key, path in inputs.items()}
        decided = json.loads(json.dumps(decisive(plain(settings)), default=str))
        known = {"stage": name, "inputs": read, "settings": decided}
        key = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:DIGITS]
        folder = self.work_dir / f"{name}-{key}"
        if is_whole(folder):
            print(f"{name}: {folder} is there already", flush=True)
            return folder
        print(f"{name}: {folder}", flush=True)
        make(folder)
        files = {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.name in RESULTS}
        write_json(folder / DONE, {**known, "files": files})
        return folder

    def train(self, name: str, overlays: Sequence[str], inputs: Mapping[str, Path], data: Mapping[str, Any]) -> Path:
        """The weights of a stage of training; `data` has arguments of its data set."""
        changed = self.changed(name, overlays, data)

        def make(folder: Path) -> None:
            places = {"checkpoint_dir": folder, "log_dir": None, "save_to": folder / "model.pt"}
            seed_everything(self.seed)  # of the weights that training begins with
            run_stage(self.bundle, overlays, {**places, **inputs, **changed})

        return self.stage(name, inputs, self.settings(name, overlays, data), make) / "model.pt"

    def changed(self, name: str, overlays: Sequence[str], data: Mapping[str, Any]) -> dict[str, Any]:
        """Overrides of a stage's configs; the chain's seed is added to the stage's own."""
        rows = {f"train#dataset#{key}": literal(value) for key, value in data.items()}
        seed = self.seed + int(load_stage(self.bundle, overlays).get("seed"))
        return {**rows, "seed": seed, **self.overrides, **dict(self.stages.get(name, {}))}

    def settings(self, name: str, overlays: Sequence[str], data: Mapping[str, Any]) -> dict[str, Any]:
        """What decides the content of a stage of training besides the files that it reads."""
        return decisive(referenced(load_stage(self.bundle, overlays, self.changed(name, overlays, data))))

    def sample(self, name: str, weights: Path, count: int) -> Path:
        """The folder with the parts of a synthetic set."""
        inferer = self.inferer
        settings = {"count": count, "seed": self.seed, "private": self.private, "sampler": inferer.sampler_name}
        settings["overrides"] = self.overrides
        settings |= {"steps": inferer.steps, "guidance": inferer.guidance, "eta": inferer.eta}

        def make(folder: Path) -> None:
            made = make_set(self.network(weights), inferer, self.conditions(), count, folder, self.seed)
            save_atomically(made, folder / "set.pt")

        return self.stage(name, {"weights": weights}, settings, make) / "set.pt"

    def filter(self, made: Path, reid: Path) -> Path:
        """The folder of the filter: kept.pt, unfiltered.pt (as many at random), filter.json, synthetic.csv."""
        settings = {"private": self.private, "percentile": self.percentile, "seed": self.seed}

        def make(folder: Path) -> None:
            training, unseen = self.radiographs("train"), self.radiographs("validation")
            judge = Calibrated(ReidJudge(self.network(reid)), training, unseen, self.percentile)
            samples = torch.load(made, weights_only=True)
            scores, found = judge.best(as_images(samples["images"]))
            kept = scores < judge.threshold
            rows = torch.from_numpy(kept).nonzero()[:, 0]
            if len(rows) < 2:
                raise UserError(
                    f"the filter keeps {len(rows)} of {len(scores)} samples: train the teacher on more patients or for "
                    "fewer epochs, or sample more of it."
                )
            drawn = torch.randperm(len(scores), generator=torch.Generator().manual_seed(self.seed))[: len(rows)]
            save_atomically(chosen(samples, rows), folder / "kept.pt")
            save_atomically(chosen(samples, drawn.sort().values), folder / "unfiltered.pt")
            labels = samples["conditions"].numpy()
            lines: list[list[int | float]] = [
                [int(seed), *(float(v) for v in values), float(score), int(where), int(one)]
                for seed, values, score, where, one in zip(samples["seeds"], labels, scores, found, kept)
            ]
            columns = [
                "seed",
                *(f"label_{name.replace(' ', '_')}" for name in LABELS),
                "s_max",
                "nearest_image",
                "kept",
            ]
            table = [",".join(columns), *(",".join(map(str, line)) for line in lines)]
            write_text(folder / "synthetic.csv", "\n".join(table) + "\n")
            report = {"threshold": judge.threshold, "samples": len(scores), "kept": len(rows)}
            write_json(folder / "filter.json", {**report, "by_label": kept_by_label(labels, kept, LABELS)})

        return self.stage("filter", {"samples": made, "reid": reid}, settings, make)

    # --- what the stages need -------------------------------------------------------------------------------------

    def network(self, weights: Path) -> LabelDiffusion:
        """The bundle's network with the weights of a stage."""
        config = load_stage(self.bundle, (), self.overrides)
        return load_weights(config.get_parsed_content("network_def"), weights, config.get_parsed_content("device"))

    def conditions(self) -> torch.Tensor:
        """Conditions of the teacher's training rows, float32 (N, K)."""
        rows = LabelledRadiographs(**self.private)
        return torch.stack([rows[row]["conditions"] for row in range(len(rows))])

    def radiographs(self, split: str) -> torch.Tensor:
        """Private radiographs of a split, float32 (N, 1, S, S); of all its patients but in training."""
        settings = {**self.private, "split": split}
        if split != "train":
            settings["patients"] = None
        rows = LabelledRadiographs(**settings)
        return torch.stack([rows[row]["image"] for row in range(len(rows))])


def content_of(key: str, path: Path) -> str:
    """Digest of a file that a stage reads; of weights whose autoencoder alone is taken, of these tensors alone."""
    if key != "autoencoder_path":
        return sha256(path)
    digest = hashlib.sha256()
    for name, value in sorted(read_state(path).items()):
        if name.startswith(SHARED):
            digest.update(name.encode() + value.contiguous().numpy().tobytes())
    return digest.hexdigest()


def referenced(config: ConfigParser, begin: str = "train#trainer") -> dict[str, Any]:
    """What a training is made of: the part of a config at `begin` and all that it refers to, by id, but for places."""
    found: dict[str, Any] = {}
    waiting = [begin]
    while waiting:
        key = waiting.pop()
        if key not in found and key not in (*PLACES, *INDIFFERENT):
            found[key] = plain(config.get(key))
            waiting += REFERENCE.findall(json.dumps(found[key], default=str))
    return found


def is_whole(folder: Path) -> bool:
    """Whether a stage's folder holds its results as they were when it was done."""
    if not (folder / DONE).is_file():
        return False
    files = json.loads((folder / DONE).read_text(encoding="utf-8"))["files"]
    return all((folder / name).is_file() and sha256(folder / name) == digest for name, digest in files.items())


def decisive(settings: Any) -> Any:
    """Settings without those that change no content."""
    if isinstance(settings, dict):
        return {key: decisive(value) for key, value in settings.items() if key not in INDIFFERENT}
    return [decisive(value) for value in settings] if isinstance(settings, list) else settings


def as_images(stored: torch.Tensor) -> torch.Tensor:
    """Stored uint8 images (N, S, S) as float32 (N, 1, S, S) in [0, 1]."""
    return stored[:, None].float() / 255
