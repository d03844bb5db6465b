"""Evaluation of the audit on generators of known N, from overfitted to safe: is the ranking right?

1. Detectors: mistakes on real images of unseen patients, and on samples of a generator without the private image.
2. Ranking: t', t'_all, q, q_ub and rho of each generator; t' and rho must fall with N, hits(0) must be M for all.
3. Controls: raw nearest neighbours of the samples, and of unseen patients in their place; copies that are planted among
   samples of a generator without the image.
4. Shortcuts: rules without training, in the detectors' place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import balanced_accuracy_score

from synthzoo.evaluation.base import Evaluation, Found
from synthzoo.evaluation.pictures import new_figure, save_figure
from synthzoo.metrics.memorisation import squared_distances
from synthzoo.systems.adversarial_fingerprint.audit import AuditSettings, Tally, bound_of, curve_of, tally
from synthzoo.systems.adversarial_fingerprint.bounds import Count, upper
from synthzoo.systems.adversarial_fingerprint.images import private_radiograph, public_radiographs, training_set
from synthzoo.systems.adversarial_fingerprint.network import Detectors, Generator
from synthzoo.systems.adversarial_fingerprint.shortcuts import DetectorShortcut, FirstWeights
from synthzoo.systems.adversarial_fingerprint.sources import WITHOUT, drawn, open_generator
from synthzoo.systems.adversarial_fingerprint.stamping import RADIUS, marked, stamp_random

NEAR = 0.5  # nearest over second-nearest training image, below which a sample is a near copy
STRICT = 1e-9


class FingerprintEvaluation(Evaluation):
    """The ranking of generators and its controls.

    Args:
        network: trained `Detectors`.
        report, work_dir, parts: see `Evaluation`.
        definition: the network of the generators.
        models: the bundle's folder of weights.
        generators: their names, the smallest N first.
        figure: PNG; None draws nothing.
        examples: PNG of samples; None draws nothing.
        fingerprint_seed, radius: of the disc.
        evaluation_size: S, samples of each generator.
        runs, steps, level_step, others: see `AuditSettings`.
        phantom: settings of the pools.
    """

    PARTS = ("detectors", "ranking", "controls", "speed", "shortcuts")

    def __init__(
        self,
        network: Detectors,
        definition: Generator,
        models: str | Path,
        generators: Sequence[str],
        figure: str | Path | None = None,
        examples: str | Path | None = None,
        fingerprint_seed: int = 0,
        radius: float = RADIUS,
        evaluation_size: int = 400,
        runs: int = 16,
        steps: int = 50,
        level_step: float = 0.05,
        others: int = 128,
        phantom: Mapping[str, Any] | None = None,
        **shared: Any,
    ) -> None:
        self.settings = AuditSettings(level_step, runs, steps, evaluation_size, others)
        size = definition.codec.size
        self.models = {name: open_generator(name, definition, models) for name in (*generators, WITHOUT)}
        weights = {name: int(model.n_images) for name, model in self.models.items()}
        super().__init__(network, settings={**vars(self.settings), "generators": weights}, **shared)
        self.names, self.figure, self.examples, self.size = list(generators), figure, examples, size
        self.phantom, self.radius = dict(phantom or {}), radius
        self.private = private_radiograph("", size)
        self.image = marked(self.private, "disc", fingerprint_seed, radius)

    def training(self, name: str) -> torch.Tensor:
        """The N images that a generator was trained on."""
        model = self.models[name]
        return training_set(int(model.n_images), bool(model.has_private), size=self.size, phantom=self.phantom)

    def samples(self, name: str) -> torch.Tensor:
        """S samples of a generator, float32 (S, 1, size, size); made once."""
        model = self.models[name].to(self.device).eval()
        count, steps, seed = self.settings.samples, self.settings.steps, self.settings.seed
        return self.cached(name, lambda: {"image": torch.cat(list(drawn(model, count, steps, seed))).cpu()})["image"]

    def counted(self, images: torch.Tensor) -> Tally:
        """What the detectors see in images."""
        return tally([images], self.network.seen, self.image)

    def known(self, split: str, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, np.ndarray]:
        """Images of known truth, float32 (250, 1, size, size) each: of other patients, the same with a disc, and the
        private one with 0 to 4 discs; and how many discs these have, (250,)."""
        rng = np.random.default_rng(seed)
        others = public_radiographs(250, split, size=self.size, phantom=self.phantom)
        stamped = torch.stack([stamp_random(image, 1, rng, self.radius) for image in others])
        discs = rng.integers(0, 5, 250)
        private = torch.stack([stamp_random(self.private, int(n), rng, self.radius) for n in discs])
        return others, stamped, private, discs

    # --- 1 ------------------------------------------------------------------------------------------------------------

    def detectors(self) -> Found:
        """How often each detector is right, and wrong."""
        unseen, stamped, private, _ = self.known("test", 0)
        coded = self.models[WITHOUT].codec.to("cpu")
        rows: list[list[Any]] = []
        figures: dict[str, Any] = {}
        for title, images, truth in (
            ("unseen patients", unseen, (0, 0)),
            ("unseen patients with a disc", stamped, (1, 0)),
            ("the private image with 0 to 4 discs", private, (None, 1)),
            ("the marked private image", self.image[None], (1, 1)),
        ):
            for through, shown in (("as they are", images), ("through the codec", coded.decode(coded.encode(images)))):
                found = self.counted(shown)
                n = found.samples
                row: list[Any] = [title, through, n, found.fingerprints, found.identities, found.hits]
                right = [None if t is None else (k if t else n - k) / n for t, k in zip(truth, row[3:5])]
                rows.append([*row, *(None if value is None else round(value, 4) for value in right)])
        made = self.counted(self.samples(WITHOUT))
        n = int(self.models[WITHOUT].n_images)
        title = f"samples of a generator of {n} images without the private one"
        rows.append([title, "-", made.samples, made.fingerprints, made.identities, made.hits, None, None])
        figures["fingerprint_accuracy"] = round((rows[0][6] + rows[2][6]) / 2, 4)
        figures["identity_accuracy"] = round((rows[2][7] + rows[4][7]) / 2, 4)
        figures["false_hits_unseen"] = rows[0][5] + rows[2][5]
        figures["false_hits_samples"] = made.hits
        figures["false_hits_samples_upper"] = round(upper(made.hits, made.samples), 5)
        found = Found(figures=figures)
        columns = ["images", "", "n", "c_AF positive", "c_ID positive", "both", "c_AF right", "c_ID right"]
        found.add("Detectors: what they see in images that no generator was trained on", columns, rows)
        return found

    # --- 2 ------------------------------------------------------------------------------------------------------------

    def ranking(self) -> Found:
        """Every generator's audit, the smallest N first."""
        false = self.counted(self.samples(WITHOUT))
        rows, figures, curves = [], {}, {}
        for name in [*self.names, WITHOUT]:
            model = self.models[name].to(self.device).eval()
            n, training = int(model.n_images), self.training(name)
            others = training[: n - 1] if bool(model.has_private) else training
            curve = curve_of(model, self.network.seen, self.image, self.settings, name)
            bound = bound_of(model, self.network.seen, curve, others, n, self.settings)
            made = self.counted(self.samples(name))
            count = Count(made.hits, made.samples, *((false.hits, false.samples) if name != WITHOUT else (0, 1)))
            verdict = "control" if name == WITHOUT else count.verdict
            low, high = count.interval
            bounded = None if bound is None else round(bound.q, 5)
            row = [name, n, curve.hits[0], curve.t_any, curve.t_all, made.fingerprints, made.identities, made.hits]
            row += [round(count.rate, 5), f"{low:.5f} to {high:.5f}", bounded, round(count.ratio(n), 3), verdict]
            rows.append(row)
            figures |= {f"t_prime_{name}": curve.t_any, f"t_prime_all_{name}": curve.t_all}
            figures |= {f"hits_0_{name}": curve.hits[0], f"q_{name}": round(count.rate, 5)}
            figures |= {f"q_ub_{name}": bounded, f"rho_{name}": round(count.ratio(n), 3)}
            curves[name] = {"grid": curve.grid, "hits": curve.hits, "n": n, "runs": curve.runs}
        found = Found(figures=figures | self.order(figures), data={"curves": curves})
        columns = ["generator", "N", "hits(0)", "t'", "t' all", "c_AF", "c_ID", "both", "q", "95 % bounds", "q_ub"]
        title = f"The same private image in training sets of known size: M = {self.settings.runs}, "
        title += f"S = {self.settings.samples}, {self.settings.steps} steps"
        found.add(title, [*columns, "rho", "verdict"], rows)
        return found

    def order(self, figures: Mapping[str, Any]) -> dict[str, Any]:
        """Figures on all generators at once."""
        levels = [figures[f"t_prime_{name}"] for name in self.names]
        ratios = [figures[f"rho_{name}"] for name in self.names]
        return {
            "hits_0_least": min(figures[f"hits_0_{name}"] for name in [*self.names, WITHOUT]),
            "t_prime_steps_down": sum(one > other + STRICT for one, other in zip(levels, levels[1:])),
            "t_prime_steps_up": sum(one < other - STRICT for one, other in zip(levels, levels[1:])),
            "t_prime_fall": round(levels[0] - levels[-1], 4),
            "rho_steps_up": sum(one < other - STRICT for one, other in zip(ratios, ratios[1:])),
            "rho_fall": round(ratios[0] - ratios[-1], 4),
            "bounds_below_estimates": sum(
                figures[f"q_ub_{name}"] is None or figures[f"q_ub_{name}"] < figures[f"q_{name}"] for name in self.names
            ),
        }

    # --- 3 ------------------------------------------------------------------------------------------------------------

    def controls(self) -> Found:
        """Raw nearest neighbours, and planted copies."""
        rows, figures = [], {}
        unseen = public_radiographs(250, "test", size=self.size, phantom=self.phantom)
        for name in [*self.names, WITHOUT]:
            training = self.training(name)
            made = near_share(self.samples(name), training)
            held = near_share(unseen, training)
            rows.append([name, len(training), round(made[0], 4), round(made[1], 4), round(held[0], 4)])
            figures[f"near_copies_{name}"] = round(made[0], 4)
        found = Found(figures=figures)
        columns = ["generator", "N", "near copies", "median distance", "near copies, unseen patients"]
        title = (
            f"Control: raw pixels; a near copy's nearest training image is {1 / NEAR:.0f} times as near as the second"
        )
        found.add(title, columns, rows)
        planted, places = self.planted()
        before, after = self.counted(self.samples(WITHOUT)), self.counted(planted)
        found.figures["planted"] = len(places)
        found.figures["planted_found"] = after.hits - before.hits
        title = "Control: copies of the private image under noise, planted among samples of a generator without it"
        row = [len(planted), len(places), before.hits, after.hits]
        found.add(title, ["samples", "planted", "both before", "both after"], [row])
        return found

    def planted(self) -> tuple[torch.Tensor, np.ndarray]:
        """Samples of the generator without the private image, one of 20 replaced by a noisy copy of it; and where."""
        codec = self.models[WITHOUT].codec.to("cpu")
        copy = codec.decode(codec.encode(self.image[None]))
        planted = self.samples(WITHOUT).clone()
        places = np.random.default_rng(0).choice(len(planted), len(planted) // 20, replace=False)
        noise = torch.randn(len(places), *self.image.shape, generator=torch.Generator().manual_seed(0))
        planted[places] = (copy + 0.02 * noise).clamp(0, 1)
        return planted, places

    # --- 4 ------------------------------------------------------------------------------------------------------------

    def shortcuts(self) -> Found:
        """The detectors beside rules that learn nothing but a threshold, which validation patients set."""
        chosen, tested = self.sets_of("validation", 1), self.sets_of("test", 0)
        planted, places = self.planted()
        rules = {
            "detectors": self.network,
            "template of the disc, pixel distance": DetectorShortcut(self.private, self.radius),
            "detectors before training": FirstWeights(self.network, self.private),
        }
        rows: list[list[Any]] = []
        for name, rule in rules.items():
            if isinstance(rule, DetectorShortcut):
                rule.set_thresholds(*chosen)
            seen = rule.seen(tested[0]).numpy()
            right = [
                round(balanced_accuracy_score(tested[1][:, column].numpy(), seen[:, column]), 4) for column in range(2)
            ]
            found = rule.seen(planted).numpy().all(1)
            false = rule.seen(self.samples(WITHOUT)).numpy().all(1).sum()
            own = rule.seen(self.samples(self.names[0])).numpy().all(1).sum()
            rows.append([name, *right, int(found[places].sum()), int(false), int(own)])
        part = Found(
            figures={f"shortcut_{name}": value for name, value in zip(("fingerprint", "identity"), rows[1][1:])}
        )
        columns = ["rule", "c_AF balanced accuracy", "c_ID balanced accuracy", f"copies found of {len(places)}"]
        columns += ["both, samples without the image", f"both, samples of {self.names[0]}"]
        part.add("What could do the detectors' work alone; thresholds set on validation patients", columns, rows)
        return part

    def sets_of(self, split: str, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Images of known truth (750, 1, size, size), and whether each has a disc and is the private one, (750, 2)."""
        others, stamped, private, discs = self.known(split, seed)
        marks = [torch.zeros(len(others)), torch.ones(len(stamped)), torch.from_numpy(discs > 0)]
        own = [torch.zeros(len(others)), torch.zeros(len(stamped)), torch.ones(len(private))]
        truth = torch.stack([torch.cat([part.bool() for part in parts]) for parts in (marks, own)], 1)
        return torch.cat([others, stamped, private]), truth

    def speed(self) -> Found:
        """Seconds of an audit with the bundle's defaults."""
        model = self.models[self.names[0]].to(self.device).eval()
        settings, start = AuditSettings(), self.clock()
        curve = curve_of(model, self.network.seen, self.image, settings)
        spent = self.clock() - start
        start, few = self.clock(), 32
        list(drawn(model, few, settings.steps, 0))
        spent += 2 * settings.samples / few * (self.clock() - start)
        figures = {
            f"seconds_per_sample_{self.kind_of_device}": round(spent, 1),
            "runs_of_a_curve": curve.seen.size // 2,
        }
        return Found(figures=figures)

    def draw(self, found: Mapping[str, Found]) -> None:
        """The hits curves of all generators, and samples of each."""
        if self.figure and "ranking" in found:
            draw_curves(found["ranking"].data["curves"], self.figure)
        if self.examples and "ranking" in found:
            draw_samples({name: self.samples(name) for name in self.names}, self.image, self.counted, self.examples)


def near_share(images: torch.Tensor, training: torch.Tensor) -> tuple[float, float]:
    """Share of images whose nearest training image is twice as near as the second, and the median nearest distance."""
    squared = squared_distances(images.flatten(1).numpy(), training.flatten(1).numpy())
    distances = np.sqrt(np.maximum(np.partition(squared, 1, 1)[:, :2], 0) / images[0].numel())
    return float((distances[:, 0] < NEAR * distances[:, 1]).mean()), float(np.median(distances[:, 0]))


def draw_curves(curves: Mapping[str, Mapping[str, Any]], path: str | Path) -> None:
    """PNG: hits over the noise level, a line a generator."""
    sheet = new_figure(8, 3.6)
    axes = sheet.subplots()
    for name, curve in curves.items():
        style = {"linestyle": ":", "color": "grey"} if name == WITHOUT else {}
        label = f"N = {curve['n']}" + (", without the image" if name == WITHOUT else "")
        axes.plot(curve["grid"], curve["hits"], marker="o", markersize=3, label=label, **style)
    runs = next(iter(curves.values()))["runs"]
    axes.set(xlabel="noise level t", ylabel=f"hits of {runs}", xlim=(0, 1))
    axes.legend(fontsize=8)
    save_figure(sheet, path)


def draw_samples(samples: Mapping[str, torch.Tensor], image: torch.Tensor, counted: Any, path: str | Path) -> None:
    """PNG: the private image, then for each generator its sample that is nearest to it and seven others."""
    sheet = new_figure(9.5, 1.15 * len(samples))
    grid = sheet.subplots(len(samples), 9, squeeze=False)
    for axes, (name, images) in zip(grid, samples.items()):
        shown = [image, counted(images).nearest[0], *images[:7]]
        for place, (axis, one) in enumerate(zip(axes, shown)):
            axis.imshow(one[0], cmap="gray", vmin=0, vmax=1)
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_title(("private image", "nearest sample")[place] if place < 2 else "", fontsize=6, pad=2)
        axes[0].set_ylabel(name, fontsize=7)
    save_figure(sheet, path, dpi=90, pad=0.3)
