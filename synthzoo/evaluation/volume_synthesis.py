"""Evaluation of a generator of volumes by instruments that saw none of its training: fidelity, agreement, memorisation.

Whose volumes they are, how requests are drawn and what reads them, `subjects.Subjects` says. Beside each figure stands
the phantom's own: the same instrument on true phantoms of the same requests (the ceiling), on these phantoms through
the autoencoder (what decoding loses), and shuffled requests (the floor).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from synthzoo.errors import UserError
from synthzoo.evaluation.base import Evaluation, Found, described
from synthzoo.evaluation.brain_subjects import Brains
from synthzoo.evaluation.subjects import Subjects
from synthzoo.evaluation.volume_figures import draw_agreement, draw_volumes, write_csv
from synthzoo.evaluation.volume_samples import Samples
from synthzoo.metrics.agreement import agreement, conditioning
from synthzoo.metrics.fidelity import fid, pairwise_ms_ssim
from synthzoo.metrics.memorisation import memorisation

CEILING, RESTORED = "phantom (ceiling)", "phantom through the autoencoder"


class VolumeSynthesisEvaluation(Evaluation):
    """Generates for drawn requests and measures; a CSV and two pictures lie beside the metrics file.

    A system's own evaluation derives from it, names its parts and adds tables of its own.

    Args:
        inferer: (noise, network, conditions) -> volumes, with the bundle's defaults.
        count: requests of the main tables.
        sweep_count: requests of each row of the tables over settings; half as many of unset conditions.
        training_size: training phantoms among which nearest neighbours are sought.
        seed: of requests and start noise.
        batch_size: images at once.
        cache_dir: folder of cached training phantoms; None takes one in `work_dir`.
        spacing_mm: of the generated volumes; None is that of the subjects.
        subjects: whose volumes they are; None are brains.
        split: of the phantoms that samples are compared with; "validation" where settings are chosen.
        settings: of the system's own tables, which decide the numbers, too.
        shared: see `Evaluation`.

    Raises:
        UserError: an unknown part, or fewer than 8 requests.
    """

    def __init__(
        self,
        inferer: Any,
        work_dir: str | Path,
        count: int = 200,
        sweep_count: int = 60,
        training_size: int = 1800,
        seed: int = 0,
        batch_size: int = 8,
        cache_dir: str | None = None,
        spacing_mm: float | None = None,
        subjects: Subjects | None = None,
        split: str = "test",
        settings: Mapping[str, Any] | None = None,
        **shared: Any,
    ) -> None:
        if min(count, sweep_count) < 8:
            raise UserError(f"evaluation_size = {count}, sweep_size = {sweep_count}: each takes at least 8 requests.")
        self.subjects = Brains() if subjects is None else subjects
        spacing_mm = self.subjects.spacing_mm if spacing_mm is None else spacing_mm
        own = {"count": count, "sweep_count": sweep_count, "training_size": training_size, **dict(settings or {})}
        own |= {"seed": seed, "batch_size": batch_size, "spacing_mm": spacing_mm}
        own |= {} if split == "test" else {"split": split}
        super().__init__(inferer=inferer, work_dir=work_dir, settings=own, **shared)
        self.count, self.sweep_count, self.training_size = int(count), min(int(sweep_count), int(count)), training_size
        self.seed, self.spacing_mm, self.split = int(seed), float(spacing_mm), split
        self.thin = max(1, round(self.subjects.coarse_mm / self.spacing_mm))  # voxels between those that are compared
        self.phantom_dir = str(Path(work_dir) / "phantoms")
        self.cache_dir = cache_dir or self.phantom_dir
        self.samples = Samples(self.network, work_dir, batch_size, seed)
        low, high = (ends.cpu().numpy() for ends in (self.network.conditions.low, self.network.conditions.high))
        self.requested = self.subjects.requests(self.count, low, high, self.seed)

    def reported_settings(self) -> dict[str, Any]:
        """Settings under which the figures were measured."""
        settings = {"requests": self.count, "seed": self.seed, "weights_sha256": self.samples.weights}
        own = ("sampler_name", "steps", "guidance", "temperature", "top_k")
        kept = {name: getattr(self.inferer, name) for name in own if hasattr(self.inferer, name)}
        return settings | {name.removesuffix("_name"): value for name, value in kept.items()}

    # What several parts need.

    @cached_property
    def generated(self) -> tuple[np.ndarray, float]:
        """Volumes (N, D, H, W) of the requests, and seconds for each; kept as files."""
        return self.samples.make(self.requested, self.inferer)

    @cached_property
    def true(self) -> np.ndarray:
        """Phantoms (N, D, H, W) of the requests."""
        options: dict[str, Any] = {"split": self.split, "requests": self.requested, "cache_dir": self.phantom_dir}
        return self.phantoms(self.count, "phantoms as requested", **options)

    @cached_property
    def other(self) -> np.ndarray:
        """As many phantoms of other requests."""
        options: dict[str, Any] = {"split": self.split, "first": 50_000, "independent": 1.0}
        options["cache_dir"] = self.phantom_dir
        return self.phantoms(self.count, "other phantoms", **options)

    @cached_property
    def restored(self) -> np.ndarray:
        """The phantoms of the requests through the autoencoder."""
        return self.samples.through_autoencoder(self.true)

    @cached_property
    def true_features(self) -> np.ndarray:
        """Features of `true`."""
        return self.features(self.true)

    @cached_property
    def other_features(self) -> np.ndarray:
        """Features of `other`."""
        return self.features(self.other)

    # The parts.

    def conditions(self) -> Found:
        """Requested against measured for phantoms, phantoms through the autoencoder, and generated volumes."""
        kinds = {CEILING: self.true, RESTORED: self.restored, "generated": self.generated[0]}
        subjects, measured = self.subjects, {kind: self.measure(images) for kind, images in kinds.items()}
        requested, read = subjects.requested(self.requested), {k: subjects.together(v) for k, v in measured.items()}
        found, rows = Found(), []
        for name, unit in subjects.measured.items():
            for kind, values in read.items():
                one = conditioning(requested[name], values[name], self.seed)
                rows.append([f"{name} ({unit})", kind, one["r"], one["slope"], one["mae"], one["bias"]])
                if kind == CEILING:
                    found.figures[f"{name}_r_phantom"] = one["r"]
            control = one["shuffled"]
            rows.append([f"{name} ({unit})", "generated, requests shuffled", control["r"], control["slope"]])
            rows[-1] += [control["mae"], None]
            found.figures |= {f"{name}_{key}": one[key] for key in ("r", "slope", "mae")}
            found.figures[f"{name}_r_shuffled"] = control["r"]
            if len(subjects.conditions_of(name)) == 2:
                # Of two sides: what is read on the one where the other was requested.
                swapped = agreement(requested[name], np.roll(values[name], self.count))
                rows.append([f"{name} ({unit})", "generated, sides exchanged", swapped["r"], swapped["slope"]])
                rows[-1] += [swapped["mae"], swapped["bias"]]
                found.figures[f"{name}_r_other_side"] = swapped["r"]
        inside = self.true > subjects.inside
        found.figures["autoencoder_mae"] = round(float(np.abs(self.restored - self.true)[inside].mean()), 4)
        title = f"Requested against measured, {self.count} requests {subjects.drawn}"
        found.add(title, ["condition", "images", "r", "slope", "mean absolute error", "bias"], rows)
        columns = {f"requested_{name}": self.requested[:, k] for k, name in enumerate(subjects.names)}
        for short, kind in zip(("phantom", "autoencoder", "generated"), kinds, strict=True):
            columns |= {f"{short}_{name}": values for name, values in measured[kind].items()}
        write_csv(self.report.beside("evaluation.csv"), columns)
        shown = {kind: read[kind] for kind in (CEILING, "generated")}
        draw_agreement(self.report.beside("evaluation.png"), requested, shown, subjects.measured)
        titles = [subjects.title(request) for request in self.requested]
        draw_volumes(self.report.beside("evaluation_volumes.png"), titles, kinds)
        return found

    def fidelity(self) -> Found:
        """FID and MS-SSIM between pairs, beside those of phantoms."""
        sets = {"generated": self.generated[0], "phantoms as requested": self.true, "other phantoms": self.other}
        sets["the phantoms as requested, through the autoencoder"] = self.restored
        rows = []
        for kind, images in sets.items():
            distance = None if images is self.true else round(fid(self.features(images), self.true_features), 6)
            pairs = pairwise_ms_ssim(images, min(100, self.count), self.seed)
            rows.append([kind, distance, pairs["mean"], pairs["std"]])
        found = Found(figures={"fid": rows[0][1], "fid_phantoms": rows[2][1], "ms_ssim": rows[0][2]})
        found.figures |= {"ms_ssim_phantoms": rows[1][2]}
        found.figures["ms_ssim_difference"] = round(abs(rows[0][2] - rows[1][2]), 4)
        title = f"Fidelity and variety, {self.count} volumes a set, {pairs['pairs']} pairs; FID on "
        title += f"{self.subjects.feature_network}, to the phantoms as requested"
        found.add(title, ["images", "FID", "MS-SSIM between pairs", "its standard deviation"], rows)
        return found

    def memorisation(self) -> Found:
        """Distances of generated and held-out volumes to their nearest training volumes and to as many unseen ones."""
        size, thin = self.training_size, (slice(None), *[slice(None, None, self.thin)] * 3)
        train = self.phantoms(size, "training phantoms", step=self.thin, split="train", cache_dir=self.cache_dir)
        unseen = self.phantoms(size, "unseen phantoms", step=self.thin, split="validation", cache_dir=self.cache_dir)
        prior = {"split": "test", "first": 60_000, "cache_dir": self.phantom_dir}
        as_trained = self.phantoms(self.count, "held-out phantoms of the training prior", step=self.thin, **prior)
        held_out = self.true[thin]
        own = memorisation(self.generated[0][thin], train, held_out, unseen)
        drawn = memorisation(as_trained, train, held_out, unseen)
        rows = [
            ["generated", *_nearest(own, "generated")],
            ["held-out phantoms of the same requests", *_nearest(own, "held_out")],
            ["held-out phantoms sampled as the training set", *_nearest(drawn, "generated")],
        ]
        found = Found(figures={"nearest_ratio": own["generated_q_median"], "nearest_min": own["generated_min"]})
        found.figures |= {"nearest_min_held_out": own["held_out_min"], "memorisation": own["verdict"]}
        found.figures["nearer_to_training"] = own["nearer_to_training"]
        title = f"Distance to the nearest of {len(train)} training volumes (root mean square of standardised volumes), "
        title += "and q, the same over the distance to the nearest of as many volumes that were never trained on"
        found.add(title, ["images", "median", "smallest", "median q", "smallest q", "share with q below 1"], rows)
        return found

    def unset(self) -> Found:
        """Agreement when only one condition is requested, and when none is."""
        found, rows, count = Found(), [], max(self.sweep_count // 2, 4)
        subjects, truth = self.subjects, self.subjects.requested(self.requested[:count])
        for given in (*subjects.measured, None):
            kept = subjects.conditions_of(given) if given else ()
            requested = self.requested[:count].copy()
            requested[:, [k for k, name in enumerate(subjects.names) if name not in kept]] = np.nan
            measured = subjects.together(self.measure(self.samples.make(requested, self.inferer, f"only {given}")[0]))
            one = {name: agreement(truth[name], measured[name]) for name in subjects.measured}
            rows.append([given or "nothing", *(one[name]["r"] for name in subjects.measured)])
            rows[-1] += [round(float(measured[name].std()), 2) for name in subjects.measured]
            if given:
                found.figures[f"{given}_r_alone"] = one[given]["r"]
        columns = [f"{what} {name}" for what in ("r", "deviation of") for name in subjects.measured]
        title = f"Conditions unset, {count} volumes a row; r against the full request, of which one "
        found.add(title + "condition or none was given", ["requested", *columns], rows)
        return found

    def speed(self) -> Found:
        """Seconds for each volume of a batch."""
        return Found(figures={"seconds_per_sample": round(self.generated[1], 3)})

    # A row of the tables over settings.

    @property
    def setting_columns(self) -> list[str]:
        """Columns of `measure_setting`."""
        return ["FID to phantoms", *self.subjects.columns, "s per volume"]

    def measure_setting(self, inferer: Any, what: str) -> list:
        """`setting_columns` of one setting of the sampler on the first requests."""
        if described(inferer) == described(self.inferer):
            volumes, seconds = self.generated[0][: self.sweep_count], self.generated[1]
        else:
            volumes, seconds = self.samples.make(self.requested[: self.sweep_count], inferer, what)
        return [*self.quality(self.requested[: self.sweep_count], volumes), round(seconds, 3)]

    def measure_phantoms(self) -> list:
        """`setting_columns` of phantoms: FID of as many others, agreement of the phantoms as requested."""
        few = slice(None, self.sweep_count)
        return [*self.quality(self.requested[few], self.true[few], self.other_features[few]), None]

    def quality(self, requested: np.ndarray, volumes: np.ndarray, found: np.ndarray | None = None) -> list:
        """FID of the volumes, or of features `found`, to all phantoms as requested; then agreement with `requested`."""
        first, *others = self.agreements(requested, volumes).values()
        distance = round(fid(self.features(volumes) if found is None else found, self.true_features), 6)
        return [distance, first["r"], first["slope"], *(one["r"] for one in others)]

    def agreements(self, requested: np.ndarray, volumes: np.ndarray) -> dict[str, dict]:
        """What is measured -> agreement of requests (N, K) with volumes (N, D, H, W), see `metrics.agreement`."""
        wanted, read = self.subjects.requested(requested), self.subjects.together(self.measure(volumes))
        return {name: agreement(wanted[name], read[name]) for name in self.subjects.measured}

    # The instruments and the phantoms on the grid of these volumes.

    def phantoms(self, size: int, what: str, **options: Any) -> np.ndarray:
        """Phantoms float32 (N, D, H, W) of this spacing; see `Subjects.phantoms`."""
        return self.subjects.phantoms(size, what, spacing_mm=self.spacing_mm, **options)

    def features(self, images: np.ndarray) -> np.ndarray:
        """Features for FID, (N, F)."""
        return self.subjects.features(images, self.spacing_mm)

    def measure(self, images: np.ndarray) -> Mapping[str, np.ndarray]:
        """Condition -> (N,), of volumes (N, D, H, W)."""
        return self.subjects.measure(images, self.spacing_mm)


def _nearest(found: Mapping[str, Any], which: str) -> list[float]:
    """One row of the table of nearest neighbours."""
    names = [f"{which}_{key}" for key in ("median", "min", "q_median", "q_min")]
    share = "nearer_to_training" + ("_held_out" if which == "held_out" else "")
    return [found[name] for name in (*names, share)]
