"""Losses of D'ARTAGNAN (Reynaud et al., MICCAI 2022): an expert first, then a twin generator against a critic.

expert       mean (expert(Z) - X)^2, in tens of EF points
generator    w_d adversary(Y*) + w_r mean |Y - Z| + w_e mean |expert(Y*) - X*|
critic       Z against Y*, frame by frame

The reconstruction holds the factual world alone, adversary and expert the counterfactual one alone, for which no truth
exists. All three weights rise together as a sigmoid. The network has `generator` and `expert`, the batch "video"
(B, 1, T, H, W) in [0, 1] and "ef" (B,), a fraction.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from synthzoo.errors import UserError
from synthzoo.systems.dartagnan.motion import unevenness

ADVERSARIES = ("hinge", "published")


def draw_requested(
    ef: torch.Tensor, apart: float = 0.10, low: float = 0.0, high: float = 1.0, generator: torch.Generator | None = None
) -> torch.Tensor:
    """EFs to ask for, (B,): whole percents, uniform over those in [low, high] that lie at least `apart` from `ef` (B,).

    Raises:
        UserError: no such EF exists for one of the clips.
    """
    percents = torch.arange(math.ceil(100 * low - 1e-9), math.floor(100 * high + 1e-9) + 1)
    allowed = (percents[None] - 100 * ef.detach().cpu().reshape(-1, 1)).abs() >= 100 * apart - 1e-6
    if not len(percents) or not allowed.any(1).all():
        raise UserError(f"apart = {apart} with EFs of {low} to {high}: no EF is that far from the clip's; lower it.")
    return (percents[torch.multinomial(allowed.float(), 1, generator=generator)[:, 0]] / 100).to(ef)


class ExpertObjective:
    """The expert learns the EF of real clips.

    Args:
        augmentation: clips -> augmented clips, such as `RandClipAugmentation`; None shows the clips themselves, as
            published.
    """

    name = "expert"

    def __init__(self, augmentation: Callable | None = None) -> None:
        self.augmentation = augmentation

    def __call__(self, network: Any, batch: dict) -> dict[str, torch.Tensor]:
        """A batch -> "loss" and "points", the mean absolute error in EF points."""
        video = batch["video"] if self.augmentation is None else self.augmentation(batch["video"])
        error = network.expert(video) - batch["ef"].to(video)
        return {"loss": (10 * error).square().mean(), "points": 100 * error.abs().mean()}


class TwinCritic(nn.Module):
    """The frame discriminator, its own objective, and its verdict for the generator; in the trainer's `steps` after it.

    A module, so that its weights are in the checkpoint; never in the model.

    Args:
        discriminator: clip -> score of each frame (B, T), such as `FrameDiscriminator`.
        adversary: "hinge" on every frame's score, or "published": L1 on the sigmoid of the clip's mean score.

    Raises:
        UserError: another adversary.
    """

    name = "critic"

    def __init__(self, discriminator: nn.Module, adversary: str = "hinge") -> None:
        super().__init__()
        if adversary not in ADVERSARIES:
            raise UserError(f"adversary = {adversary!r}: the known ones are {', '.join(ADVERSARIES)}.")
        self.discriminator, self.adversary = discriminator, adversary
        self.generated: torch.Tensor | None = None

    def verdict(self, clip: torch.Tensor) -> torch.Tensor:
        """Adversarial loss of a clip (B, 1, T, H, W) against the critic, a scalar that carries gradients."""
        scores = self.discriminator(clip)
        return -scores.mean() if self.adversary == "hinge" else (1 - scores.mean(1).sigmoid()).mean()

    def remember(self, generated: torch.Tensor) -> None:
        """Keep the counterfactual clip of this iteration for the critic's own step."""
        self.generated = generated.detach()

    def forward(self, network: Any, batch: dict) -> dict[str, torch.Tensor]:
        """A batch -> "loss", and "real" and "fake", the mean scores, which should stay apart but near."""
        generated, self.generated = self.generated, None
        if generated is None:
            raise UserError("train#trainer#steps: the twin's critic stands after the generator's objective; swap them.")
        real, fake = self.discriminator(batch["video"]), self.discriminator(generated)
        if self.adversary == "hinge":
            loss = torch.relu(1 - real).mean() + torch.relu(1 + fake).mean()
        else:
            loss = (1 - real.mean(1).sigmoid()).mean() + fake.mean(1).sigmoid().mean()
        return {"loss": loss, "real": real.mean(), "fake": fake.mean()}


def change_at_rest(generated: torch.Tensor, video: torch.Tensor, frame: torch.Tensor) -> torch.Tensor:
    """Mean |generated - video| of clips (B, 1, T, H, W), each in its frame (B,), a scalar; without those below 0."""
    frame = torch.as_tensor(frame, device=generated.device)
    rows = torch.arange(len(generated), device=generated.device)
    change = (generated - video)[rows, 0, frame.clamp(min=0)].abs().mean((1, 2))
    known = (frame >= 0).to(change)
    return (change * known).sum() / known.sum().clamp(min=1)


class TwinObjective(nn.Module):
    """The generator's loss; the expert is frozen from the first call on.

    A module, because how far the weights have risen is part of the checkpoint.

    Args:
        critic: gives its verdict and is handed the counterfactual clip.
        adversary, reconstruction, expert: the final weights w_d, w_r, w_e.
        rise: steps after which the weights are at .95 of these, as after the published six epochs; 0 starts at 1.
        apart, low, high: of the EFs that are requested, see `draw_requested`.
        augmentation: clips -> augmented clips, such as `RandClipAugmentation`, which the expert judges; None shows it
            the counterfactual itself, as published.
        copies: augmented copies of each clip in one step.
        smooth: weight of the unevenness of the motion; only for a generator that answers with one.
        rest: weight of mean |Y* - Z| at end diastole, for the relaxed heart is the patient's and not the EF's; of clips
            whose "ed_frame" is known, 0 or more, as phantoms and traced videos have it.
    """

    name = "twin"

    def __init__(
        self,
        critic: TwinCritic,
        adversary: float = 1.0,
        reconstruction: float = 1.0,
        expert: float = 1.0,
        rise: int = 0,
        apart: float = 0.10,
        low: float = 0.0,
        high: float = 1.0,
        augmentation: Callable | None = None,
        copies: int = 1,
        smooth: float = 0.0,
        rest: float = 0.0,
    ) -> None:
        super().__init__()
        self.augmentation, self.copies = augmentation, 1 if augmentation is None else int(copies)
        self.smooth, self.rest = smooth, rest
        self.__dict__["critic"] = critic  # beside the modules: the critic is checkpointed in its own step
        self.weights = (adversary, reconstruction, expert)
        self.rise, self.requested = int(rise), (apart, low, high)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def share(self) -> float:
        """Share of the weights that counts at this step, 0 to 1: sigmoid(6 step / rise - 3)."""
        return 1.0 if not self.rise else 1 / (1 + math.exp(3 - 6 * min(int(self.steps) / self.rise, 10)))

    def forward(self, network: Any, batch: dict) -> dict[str, torch.Tensor]:
        """A batch -> "loss" and its parts: "adversary", "reconstruction" and "points" off in EF, to the expert."""
        expert = network.expert.freeze()
        video, ef = batch["video"], batch["ef"].to(batch["video"])
        requested = draw_requested(ef, *self.requested)
        factual, generated, uneven = self.predict(network.generator, video, ef, requested)
        adversary = self.critic.verdict(generated)
        reconstruction = (factual - video).abs().mean()
        seen = [generated if self.augmentation is None else self.augmentation(generated) for _ in range(self.copies)]
        error = (expert(torch.cat(seen)) - requested.repeat(self.copies)).abs().mean()
        self.critic.remember(generated)
        parts = zip(self.weights, (adversary, reconstruction, error))
        loss = self.share() * sum(weight * part for weight, part in parts)
        said = {"adversary": adversary, "reconstruction": reconstruction, "points": 100 * error}
        if self.smooth:
            loss, said["unevenness"] = loss + self.smooth * uneven, uneven
        if self.rest:
            said["rest"] = change_at_rest(generated, video, batch["ed_frame"])
            loss = loss + self.share() * self.rest * said["rest"]
        self.steps += 1
        return {"loss": loss, **said}

    def predict(
        self, generator: Any, video: torch.Tensor, ef: torch.Tensor, requested: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Both worlds, and how uneven the motion of the counterfactual one is, 0 where it does not count."""
        if not self.smooth:
            return *generator(video, ef, requested), video.new_zeros(())
        if generator.counterfactual.answer != "motion":
            raise UserError(f"smooth = {self.smooth}: only a generator whose answer is a motion has one; set it to 0.")
        noise, branch = generator.draw_noise(video), generator.counterfactual
        shift = branch.decide(requested, video, noise, ef)
        return generator.factual(ef, video, noise, ef), branch.render(video, shift), unevenness(shift)
