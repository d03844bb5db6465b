"""Evaluation of a generator by latent diffusion: the shared tables, and quality over samplers and guidance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from synthzoo.diffusion.samplers import SAMPLERS
from synthzoo.evaluation.base import Found
from synthzoo.evaluation.denoiser_parts import ClosedFormAlone, NetworkAlone, has_closed_form, with_denoiser
from synthzoo.evaluation.volume_samples import Samples
from synthzoo.evaluation.volume_synthesis import VolumeSynthesisEvaluation
from synthzoo.inferers.synthesis import SynthesisInferer
from synthzoo.metrics.fidelity import fid, gradient_energy, unexplained_spread
from synthzoo.systems.brain_ldm import shortcuts
from synthzoo.systems.brain_ldm.dataset import LatentDataset

ENDINGS = {"generated": "", shortcuts.CLOSED_FORM: "_closed_form", shortcuts.FITTED: "_closed_form"}
ENDINGS[shortcuts.NETWORK] = "_network"


class SynthesisEvaluation(VolumeSynthesisEvaluation):
    """The evaluation of a generator of volumes, with its sampler and its guidance.

    Args:
        steps: network calls in the table over samplers.
        weights: weights in the table over guidance.
        measure_shortcuts: measure what could do the generator's work alone, too, see `shortcuts`.
        closed_form_modes: of the closed form that is fitted to the training set for that table, where the network has
            none of its own; None leaves it out.
        without: a network that was trained without the closed form, beside which this one is set; None has none.
        shared: see `VolumeSynthesisEvaluation`.
    """

    PARTS = ("conditions", "fidelity", "memorisation", "unset", "samplers", "guidance", "shortcuts", "speed")

    def __init__(
        self,
        steps: Sequence[int] = (4, 6, 10, 20, 40),
        weights: Sequence[float] = (1.0, 1.5, 2.0),
        measure_shortcuts: bool = False,
        closed_form_modes: int | None = None,
        without: torch.nn.Module | None = None,
        **shared: Any,
    ) -> None:
        settings: dict[str, Any] = {"steps": list(steps), "weights": list(weights)}
        if measure_shortcuts:
            settings["shortcuts"] = True
        if closed_form_modes is not None:
            settings["closed_form_modes"] = closed_form_modes
        super().__init__(settings=settings, **shared)
        self.steps, self.weights = list(steps), list(weights)
        self.measure_shortcuts, self.without = measure_shortcuts, without
        self.closed_form_modes = closed_form_modes

    def samplers(self) -> Found:
        """Quality against network calls for every sampler."""
        guidance = self.inferer.guidance
        rows = [[name, steps, *self.setting(name, steps, guidance)] for name in SAMPLERS for steps in self.steps]
        rows.append(["phantoms", None, *self.measure_phantoms()])
        found = Found()
        title = f"Quality against network calls, {self.sweep_count} requests a row, guidance {guidance:g}"
        found.add(title, ["sampler", "calls", *self.setting_columns], rows)
        return found

    def guidance(self) -> Found:
        """Quality against the weight of guidance."""
        sampler, steps = self.inferer.sampler_name, self.inferer.steps
        rows = [[weight, *self.setting(sampler, steps, weight)] for weight in self.weights]
        rows.append(["phantoms", *self.measure_phantoms()])
        found = Found()
        title = f"Quality against guidance, {self.sweep_count} requests a row, {sampler} with {steps} steps"
        found.add(title, ["guidance", *self.setting_columns], rows)
        return found

    def shortcuts(self) -> Found:
        """The generator beside each part of it that could do the work alone, on the same requests and noise."""
        if not self.measure_shortcuts:
            return Found()
        sets = {"generated": self.generated[0]}
        if has_closed_form(self.network):
            hybrid = self.network.denoiser
            alone = {shortcuts.CLOSED_FORM: ClosedFormAlone(hybrid.gaussian)}
            alone[shortcuts.NETWORK] = NetworkAlone(hybrid)
            sets |= {name: self.volumes_of(with_one, name) for name, with_one in alone.items()}
            sets[shortcuts.MEAN] = self.samples.make(self.requested, shortcuts.MeanInferer(), shortcuts.MEAN)[0]
        elif self.closed_form_modes is not None:
            fitted = self.fitted(self.closed_form_modes)
            sets[shortcuts.FITTED] = fitted.make(self.requested, self.inferer, shortcuts.FITTED)[0]
            sets[shortcuts.MEAN] = fitted.make(self.requested, shortcuts.MeanInferer(), shortcuts.MEAN)[0]
        if self.without is not None:
            own = Samples(self.without, self.samples.folder, self.samples.batch_size, self.seed)
            sets["trained without the closed form"] = own.make(self.requested, self.inferer, "without")[0]
        low, high = (bound.cpu().numpy() for bound in (self.network.conditions.low, self.network.conditions.high))
        sets[shortcuts.NEAREST] = shortcuts.nearest_phantoms(self.requested, low, high, self.training())
        sets |= {"phantoms through the autoencoder": self.restored, "phantoms as requested": self.true}
        found = Found()
        inside = self.subjects.inside
        energy, spread = gradient_energy(self.true, inside).mean(), self.spread(self.true)
        rows = []
        for name, images in sets.items():
            features = self.other_features if images is self.true else self.features(images)
            r = [one["r"] for one in self.agreements(self.requested, images).values()]
            apart = float(np.sqrt(np.square(images - sets["generated"]).mean()))
            row = [fid(features, self.true_features), gradient_energy(images, inside).mean() / energy, *r]
            row += [self.spread(images) / spread, apart / self.spread(sets["generated"]) if name in ENDINGS else None]
            rows.append([name, round(row[0], 6), *(None if v is None else round(float(v), 4) for v in row[1:])])
            if name in ENDINGS:
                kept = dict(zip(("fid", "gradient_energy", "spread"), (rows[-1][1], rows[-1][2], rows[-1][-2])))
                found.figures |= {f"shortcuts_{key}{ENDINGS[name]}": value for key, value in kept.items()}
        title = (
            f"What does the work, {self.count} requests, the same noise; gradient energy and spread (what the requests "
        )
        title += "do not explain) over the phantoms', difference from the generated volumes over their spread"
        found.add(title, ["images", *self.shortcut_columns], rows)
        return found

    def training(self) -> Any:
        """The training phantoms as rows."""
        options: dict[str, Any] = {"spacing_mm": self.spacing_mm, "cache_dir": self.cache_dir}
        return self.subjects.rows(self.training_size, split="train", **options)

    def fitted(self, modes: int) -> Samples:
        """Volumes by the closed form alone, fitted to the training phantoms behind this network's autoencoder."""
        network = shortcuts.fitted_closed_form(self.network, lambda one: LatentDataset(one, self.training()), modes)
        return Samples(network, self.samples.folder, self.samples.batch_size, self.seed)

    @property
    def shortcut_columns(self) -> list[str]:
        """Columns of the table of shortcuts after the first."""
        r = [f"{self.subjects.short[name]} r" for name in self.subjects.measured]
        return ["FID to phantoms", "gradient energy", *r, "spread", "difference"]

    def volumes_of(self, denoiser: torch.nn.Module, name: str) -> np.ndarray:
        """Volumes of the requests by another denoiser, as the bundle samples them."""
        network = with_denoiser(self.network, denoiser)
        return Samples(network, self.samples.folder, self.samples.batch_size, self.seed).make(
            self.requested, self.inferer, name
        )[0]

    def spread(self, images: np.ndarray) -> float:
        """Standard deviation over the volumes that the requests do not explain."""
        return unexplained_spread(images, self.requested, self.thin)

    def setting(self, sampler: str, steps: int, guidance: float) -> list:
        """`SETTING_COLUMNS` of a sampler, a number of calls and a weight of guidance."""
        same = (self.inferer.sampler_name, self.inferer.steps, self.inferer.guidance)
        if (sampler, steps, guidance) == same:
            return self.measure_setting(self.inferer, "generate")
        inferer = SynthesisInferer(sampler, steps, guidance, seed=self.seed)
        return self.measure_setting(inferer, f"{sampler}, {steps} steps, guidance {guidance:g}")
