"""Evaluation of the brain generator by latent diffusion: the shared tables, and quality over samplers and guidance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from synthzoo.diffusion.samplers import SAMPLERS
from synthzoo.evaluation.base import Found
from synthzoo.evaluation.brain_synthesis import SETTING_COLUMNS, BrainSynthesisEvaluation
from synthzoo.inferers.synthesis import SynthesisInferer


class SynthesisEvaluation(BrainSynthesisEvaluation):
    """The evaluation of a brain generator, with its sampler and its guidance.

    Args:
        steps: network calls in the table over samplers.
        weights: weights in the table over guidance.
        shared: see `BrainSynthesisEvaluation`.
    """

    PARTS = ("conditions", "fidelity", "memorisation", "unset", "samplers", "guidance", "speed")

    def __init__(
        self, steps: Sequence[int] = (4, 6, 10, 20, 40), weights: Sequence[float] = (1.0, 1.5, 2.0), **shared: Any
    ) -> None:
        super().__init__(settings={"steps": list(steps), "weights": list(weights)}, **shared)
        self.steps, self.weights = list(steps), list(weights)

    def samplers(self) -> Found:
        """Quality against network calls for every sampler."""
        guidance = self.inferer.guidance
        rows = [[name, steps, *self.setting(name, steps, guidance)] for name in SAMPLERS for steps in self.steps]
        rows.append(["phantoms", None, *self.measure_phantoms()])
        found = Found()
        title = f"Quality against network calls, {self.sweep_count} requests a row, guidance {guidance:g}"
        found.add(title, ["sampler", "calls", *SETTING_COLUMNS], rows)
        return found

    def guidance(self) -> Found:
        """Quality against the weight of guidance."""
        sampler, steps = self.inferer.sampler_name, self.inferer.steps
        rows = [[weight, *self.setting(sampler, steps, weight)] for weight in self.weights]
        rows.append(["phantoms", *self.measure_phantoms()])
        found = Found()
        title = f"Quality against guidance, {self.sweep_count} requests a row, {sampler} with {steps} steps"
        found.add(title, ["guidance", *SETTING_COLUMNS], rows)
        return found

    def setting(self, sampler: str, steps: int, guidance: float) -> list:
        """`SETTING_COLUMNS` of a sampler, a number of calls and a weight of guidance."""
        same = (self.inferer.sampler_name, self.inferer.steps, self.inferer.guidance)
        if (sampler, steps, guidance) == same:
            return self.measure_setting(self.inferer, "generate")
        inferer = SynthesisInferer(sampler, steps, guidance, seed=self.seed)
        return self.measure_setting(inferer, f"{sampler}, {steps} steps, guidance {guidance:g}")
