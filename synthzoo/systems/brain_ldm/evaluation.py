"""What a brain generator does with its requests, measured by instruments that saw none of its training.

Requests are uniform in the conditions and independent. Beside each figure stands the phantom's own: the same instrument
on true phantoms of the same requests (the ceiling), on these phantoms through the autoencoder (what decoding loses),
and shuffled requests (the floor).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synthzoo.diffusion.samplers import SAMPLERS
from synthzoo.errors import UserError
from synthzoo.inferers.synthesis import SynthesisInferer
from synthzoo.instruments.brain.age import measure_ages
from synthzoo.instruments.brain.segmentation import features
from synthzoo.instruments.brain.volumes import measure_brains
from synthzoo.io.files import plain, write_json
from synthzoo.metrics.agreement import agreement, conditioning
from synthzoo.metrics.fidelity import fid, pairwise_ms_ssim
from synthzoo.metrics.memorisation import memorisation
from synthzoo.systems.brain_ldm.figures import draw_agreement, draw_volumes, write_csv
from synthzoo.systems.brain_ldm.samples import Samples, phantoms, uniform_requests

NAMES = ("age", "sex", "ventricle_ml", "brain_ml")
MEASURED = {"ventricle_ml": "mL", "brain_ml": "mL", "age": "years"}
PARTS = ("conditions", "fidelity", "memorisation", "left_out", "samplers", "guidance")
AIMS = {
    "ventricle_ml_r": (0.95, None),
    "ventricle_ml_slope": (0.9, 1.1),
    "brain_ml_r": (0.9, None),
    "age_r": (0.7, None),
    "ms_ssim_difference": (None, 0.05),
}
SETTING_COLUMNS = ["FID to phantoms", "ventricle r", "ventricle slope", "brain r", "age r", "s per volume"]


class SynthesisEvaluation:
    """Generates for uniform requests, measures, and writes metrics.json with a CSV and two pictures beside it.

    Args:
        network: the composite network with trained weights.
        inferer: a `SynthesisInferer` with the bundle's defaults.
        metrics_file: where the figures go.
        command: the command that gives them, for the card.
        work_dir: folder of the generated volumes; what lies there is not made again.
        count: requests of the main tables.
        sweep_count: requests of each row of the tables over samplers and guidance; half as many of left-out conditions.
        training_size: training phantoms among which nearest neighbours are sought.
        parts: which tables to make, of `PARTS`.
        steps: network calls in the table over samplers.
        weights: weights in the table over guidance.
        seed: of requests and start noise.
        batch_size: images at once.
        cache_dir: folder of cached training phantoms; None takes one in `work_dir`.

    Raises:
        UserError: an unknown part, or fewer than 8 requests.
    """

    def __init__(
        self,
        network: Any,
        inferer: SynthesisInferer,
        metrics_file: str,
        command: str,
        work_dir: str,
        count: int = 200,
        sweep_count: int = 60,
        training_size: int = 1800,
        parts: Sequence[str] = PARTS,
        steps: Sequence[int] = (4, 6, 10, 20, 40),
        weights: Sequence[float] = (1.0, 1.5, 2.0),
        seed: int = 0,
        batch_size: int = 8,
        cache_dir: str | None = None,
    ):
        unknown = [part for part in parts if part not in PARTS]
        if unknown:
            raise UserError(f"parts = {unknown}: the evaluation knows {', '.join(PARTS)}.")
        if min(count, sweep_count) < 8:
            raise UserError(f"evaluation_size = {count}, sweep_size = {sweep_count}: each takes at least 8 requests.")
        self.inferer, self.metrics_file, self.command = inferer, Path(metrics_file), command
        self.count, self.sweep_count, self.training_size = int(count), min(int(sweep_count), int(count)), training_size
        self.parts, self.steps, self.weights, self.seed = list(parts), list(steps), list(weights), int(seed)
        self.phantom_dir = str(Path(work_dir) / "phantoms")
        self.cache_dir = cache_dir or self.phantom_dir
        self.samples = Samples(network, work_dir, batch_size, seed)
        self.bounds = [bound.cpu().numpy() for bound in (network.conditions.low, network.conditions.high)]
        self.tables: list[dict] = []
        self.figures: dict[str, Any] = {}

    def run(self) -> dict:
        """Measure, write the files and return what metrics.json holds."""
        self.requested = uniform_requests(self.count, *self.bounds, self.seed)
        same = {"split": "test", "requests": self.requested, "cache_dir": self.phantom_dir}
        fresh = {"split": "test", "first": 50_000, "independent": 1.0, "cache_dir": self.phantom_dir}
        self.made, self.seconds = self.samples.make(self.requested, self.inferer)
        self.true = phantoms(self.count, "phantoms as requested", **same)
        self.other = phantoms(self.count, "other phantoms", **fresh)
        self.true_features, self.other_features = features(self.true), features(self.other)
        for part in PARTS:
            if part in self.parts:
                getattr(self, f"tell_{part}")()
        self.tell_aims()
        self.figures["seconds_per_sample"] = round(self.seconds, 3)
        setting = {"requests": self.count, "seed": self.seed, "weights_sha256": self.samples.weights}
        setting |= {
            "sampler": self.inferer.sampler_name,
            "steps": self.inferer.steps,
            "guidance": self.inferer.guidance,
        }
        metrics = plain({"command": self.command, "setting": setting, "tables": self.tables, "figures": self.figures})
        write_json(self.metrics_file, metrics)
        for name, value in self.figures.items():
            print(f"{name}: {value}")
        print(f"wrote {self.metrics_file}")
        return metrics

    # The tables, one method a part.

    def tell_conditions(self) -> None:
        """Requested against measured for phantoms, phantoms through the autoencoder, and generated volumes."""
        restored = self.samples.through_autoencoder(self.true)
        kinds = {"phantom (ceiling)": self.true, "phantom through the autoencoder": restored, "generated": self.made}
        found = {kind: measure(images) for kind, images in kinds.items()}
        rows = []
        for name, unit in MEASURED.items():
            requested = self.requested[:, NAMES.index(name)]
            for kind, values in found.items():
                one = conditioning(requested, values[name], self.seed)
                rows.append([f"{name} ({unit})", kind, one["r"], one["slope"], one["mae"], one["bias"]])
                if kind == "phantom (ceiling)":
                    self.figures[f"{name}_r_phantom"] = one["r"]
            control = one["shuffled"]
            rows.append([f"{name} ({unit})", "generated, requests shuffled", control["r"], control["slope"]])
            rows[-1] += [control["mae"], None]
            self.figures |= {f"{name}_r": one["r"], f"{name}_slope": one["slope"], f"{name}_mae": one["mae"]}
            self.figures[f"{name}_r_shuffled"] = control["r"]
        inside = self.true > 0.02
        self.figures["autoencoder_mae"] = round(float(np.abs(restored - self.true)[inside].mean()), 4)
        title = f"Requested against measured, {self.count} requests uniform in the conditions"
        self.add(title, ["condition", "images", "r", "slope", "mean absolute error", "bias"], rows)
        columns = {f"requested_{name}": self.requested[:, k] for k, name in enumerate(NAMES)}
        for short, kind in zip(("phantom", "autoencoder", "generated"), kinds, strict=True):
            columns |= {f"{short}_{name}": values for name, values in found[kind].items()}
        write_csv(self.beside("evaluation.csv"), columns)
        requested = {name: self.requested[:, NAMES.index(name)] for name in MEASURED}
        shown = {kind: found[kind] for kind in ("phantom (ceiling)", "generated")}
        draw_agreement(self.beside("evaluation.png"), requested, shown, MEASURED)
        draw_volumes(self.beside("evaluation_volumes.png"), self.requested, NAMES, kinds)
        self.restored = restored

    def tell_fidelity(self) -> None:
        """FID and MS-SSIM between pairs, beside those of phantoms."""
        sets = {"generated": self.made, "phantoms as requested": self.true, "other phantoms": self.other}
        if "conditions" in self.parts:
            sets["the phantoms as requested, through the autoencoder"] = self.restored
        rows = []
        for kind, images in sets.items():
            distance = None if images is self.true else round(fid(features(images), self.true_features), 6)
            pairs = pairwise_ms_ssim(images, min(100, self.count), self.seed)
            rows.append([kind, distance, pairs["mean"], pairs["std"]])
        self.figures |= {"fid": rows[0][1], "fid_phantoms": rows[2][1], "ms_ssim": rows[0][2]}
        self.figures |= {"ms_ssim_phantoms": rows[1][2]}
        self.figures["ms_ssim_difference"] = round(abs(rows[0][2] - rows[1][2]), 4)
        title = f"Fidelity and variety, {self.count} volumes a set, {pairs['pairs']} pairs; FID on 48 features of the "
        title += "tissue network (`brain_segmentation`), to the phantoms as requested"
        self.add(title, ["images", "FID", "MS-SSIM between pairs", "its standard deviation"], rows)

    def tell_memorisation(self) -> None:
        """Distances of generated and held-out volumes to their nearest training volumes and to as many unseen ones."""
        size, thin = self.training_size, (slice(None), *[slice(None, None, 2)] * 3)
        train = phantoms(size, "training phantoms", step=2, split="train", cache_dir=self.cache_dir)
        unseen = phantoms(size, "unseen phantoms", step=2, split="validation", cache_dir=self.cache_dir)
        prior = {"split": "test", "first": 60_000, "cache_dir": self.phantom_dir}
        as_trained = phantoms(self.count, "held-out phantoms of the training prior", step=2, **prior)
        held_out = self.true[thin]
        found = memorisation(self.made[thin], train, held_out, unseen)
        drawn = memorisation(as_trained, train, held_out, unseen)
        rows = [
            ["generated", *_nearest(found, "generated")],
            ["held-out phantoms of the same requests", *_nearest(found, "held_out")],
            ["held-out phantoms drawn as the training set", *_nearest(drawn, "generated")],
        ]
        self.figures |= {"nearest_ratio": found["generated_q_median"], "nearest_min": found["generated_min"]}
        self.figures |= {"nearest_min_held_out": found["held_out_min"], "memorisation": found["verdict"]}
        self.figures["nearer_to_training"] = found["nearer_to_training"]
        title = f"Distance to the nearest of {len(train)} training volumes (root mean square of standardised volumes), "
        title += "and q, the same over the distance to the nearest of as many volumes that were never trained on"
        columns = ["images", "median", "smallest", "median q", "smallest q", "share with q below 1"]
        self.add(title, columns, rows)

    def tell_left_out(self) -> None:
        """What is measured when only one condition is requested, and none."""
        rows, count = [], max(self.sweep_count // 2, 4)
        for given in (*MEASURED, None):
            requested = self.requested[:count].copy()
            requested[:, [k for k, name in enumerate(NAMES) if name != given]] = np.nan
            found = measure(self.samples.make(requested, self.inferer, f"only {given}")[0])
            truth = {name: self.requested[:count, NAMES.index(name)] for name in MEASURED}
            one = {name: agreement(truth[name], found[name]) for name in MEASURED}
            rows.append([given or "nothing", *(one[name]["r"] for name in MEASURED)])
            rows[-1] += [round(float(found[name].std()), 2) for name in MEASURED]
            if given:
                self.figures[f"{given}_r_alone"] = one[given]["r"]
        columns = [f"r {name}" for name in MEASURED] + [f"deviation of {name}" for name in MEASURED]
        title = f"Conditions left out, {count} volumes a row; r against the full request, of which one "
        self.add(title + "condition or none was given", ["requested", *columns], rows)

    def tell_samplers(self) -> None:
        """Quality against network calls for every sampler."""
        rows = [
            [sampler, steps, *self.measure_setting(sampler, steps, self.inferer.guidance)]
            for sampler in SAMPLERS
            for steps in self.steps
        ]
        rows.append(["phantoms", None, *self.measure_phantoms()])
        title = f"Quality against network calls, {self.sweep_count} requests a row, guidance {self.inferer.guidance:g}"
        self.add(title, ["sampler", "calls", *SETTING_COLUMNS], rows)

    def tell_guidance(self) -> None:
        """Quality against the weight of guidance."""
        sampler, steps = self.inferer.sampler_name, self.inferer.steps
        rows = [[weight, *self.measure_setting(sampler, steps, weight)] for weight in self.weights]
        rows.append(["phantoms", *self.measure_phantoms()])
        title = f"Quality against guidance, {self.sweep_count} requests a row, {sampler} with {steps} steps"
        self.add(title, ["guidance", *SETTING_COLUMNS], rows)

    def tell_aims(self) -> None:
        """What was aimed at, and what was reached."""
        rows = []
        for name, (low, high) in AIMS.items():
            if name in self.figures:
                value = self.figures[name]
                met = (low is None or value >= low) and (high is None or value <= high)
                aim = f">= {low}" if high is None else f"<= {high}" if low is None else f"{low} to {high}"
                rows.append([name, aim, value, met])
        if "memorisation" in self.figures:
            rows.append(["copies of training volumes", "none", self.figures["memorisation"]])
            rows[-1].append(self.figures["memorisation"] != "copies")
        if rows:
            self.tables.insert(0, {"title": "Aims", "columns": ["figure", "aim", "reached", "met"], "rows": rows})
            self.figures["aims_met"] = f"{sum(row[3] for row in rows)} of {len(rows)}"

    # What several tables need.

    def measure_setting(self, sampler: str, steps: int, guidance: float) -> list:
        """`SETTING_COLUMNS` of one setting of the sampler on the first requests."""
        requested = self.requested[: self.sweep_count]
        if (sampler, steps, guidance) == (self.inferer.sampler_name, self.inferer.steps, self.inferer.guidance):
            volumes, seconds = self.made[: self.sweep_count], self.seconds
        else:
            inferer = SynthesisInferer(sampler, steps, guidance, seed=self.seed)
            volumes, seconds = self.samples.make(requested, inferer, f"{sampler}, {steps} steps, guidance {guidance:g}")
        return [*self.quality(requested, volumes, features(volumes)), round(seconds, 3)]

    def measure_phantoms(self) -> list:
        """`SETTING_COLUMNS` of phantoms: FID of as many others, agreement of the phantoms as requested."""
        few = slice(None, self.sweep_count)
        return [*self.quality(self.requested[few], self.true[few], self.other_features[few]), None]

    def quality(self, requested: np.ndarray, volumes: np.ndarray, found: np.ndarray) -> list:
        """FID of features `found` to all phantoms as requested, then agreement of the volumes with `requested`."""
        values = measure(volumes)
        one = {name: agreement(requested[:, NAMES.index(name)], values[name]) for name in MEASURED}
        ventricle = one["ventricle_ml"]
        distance = round(fid(found, self.true_features), 6)
        return [distance, ventricle["r"], ventricle["slope"], one["brain_ml"]["r"], one["age"]["r"]]

    def add(self, title: str, columns: list, rows: list) -> None:
        """Append a table and show it."""
        self.tables.append({"title": title, "columns": columns, "rows": rows})
        print("\n".join([title, " | ".join(columns), *(" | ".join(str(cell) for cell in row) for row in rows)]))

    def beside(self, name: str) -> Path:
        """A file beside metrics.json."""
        return self.metrics_file.with_name(name)


def _nearest(found: Mapping[str, Any], which: str) -> list[float]:
    """One row of the table of nearest neighbours."""
    names = [f"{which}_{key}" for key in ("median", "min", "q_median", "q_min")]
    share = "nearer_to_training" + ("_held_out" if which == "held_out" else "")
    return [found[name] for name in (*names, share)]


def measure(images: np.ndarray) -> Mapping[str, np.ndarray]:
    """ventricle_ml, brain_ml and age, (N,) each, of T1w volumes (N, D, H, W) on the 4 mm grid."""
    volumes = measure_brains(images)
    return {name: volumes[name] for name in ("ventricle_ml", "brain_ml")} | {"age": measure_ages(images)}
