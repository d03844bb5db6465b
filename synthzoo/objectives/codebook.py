"""Stage one of token models: reconstruct the image through a codebook, with its spectrum (SynthAnatomy; Jukebox).

loss = mean (x - x')^2 + spectral_weight mean (|F x| - |F x'|)^2 + commitment, F orthonormal
     + perceptual_weight P(x, x') + adversarial_weight mean (D(x') - 1)^2, at the published scale
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import distributed, nn

from synthzoo.networks.codebook import CodebookAutoencoder, token_counts, usage
from synthzoo.objectives.adversarial import PatchCritic
from synthzoo.objectives.autoencoder import beside, perceptual_network, spectral_distance


class CodebookObjective(nn.Module):
    """Squared error of a `CodebookAutoencoder`'s reconstruction and of its amplitudes, in float32.

    A module, so that what it counted of the codebook since the last report is in the checkpoint; see `CodebookReport`.

    Args:
        codes: of the codebook.
        spectral_weight: of the squared error of amplitudes (`monai.losses.JukeboxLoss`); 0 leaves it out.
        restart_every: iterations between restarts of codes that are hardly used, the first before the first update;
            0 never restarts.
        restart_until: iteration from which codes are left alone; None never stops.
        restart_below: see `CodebookAutoencoder.restart_codes`.
        perceptual, perceptual_weight, critic, adversarial_weight: see `AutoencoderObjective`.
    """

    name = "codebook"
    counts: torch.Tensor
    calls: torch.Tensor

    def __init__(
        self,
        codes: int,
        spectral_weight: float = 1.0,
        restart_every: int = 0,
        restart_until: int | None = None,
        restart_below: float = 0.03,
        perceptual: Callable | str | None = None,
        perceptual_weight: float = 0.001,
        critic: PatchCritic | None = None,
        adversarial_weight: float = 0.005,
    ) -> None:
        super().__init__()
        self.spectral_weight, self.restart_every, self.restart_until = spectral_weight, restart_every, restart_until
        self.restart_below, self.perceptual_weight = restart_below, perceptual_weight
        # Neither is a part of this module: the critic is a step of the trainer's own, the other's weights are public.
        self._others = (perceptual_network(perceptual) if isinstance(perceptual, str) else perceptual, critic)
        self.adversarial_weight = adversarial_weight
        self.register_buffer("counts", torch.zeros(codes, dtype=torch.long))
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, network: nn.Module, batch: dict) -> dict[str, torch.Tensor]:
        """`batch["image"]` (B, 1, *spatial) in [0, 1] -> "loss", "mse", "spectral", "perplexity" of the batch, ..."""
        model, image = network.autoencoder, network.field(batch["image"])
        encodings = model.encode(image)
        found = {"restarted": self._restart(model, encodings)}
        with torch.autocast(image.device.type, enabled=False):  # which code is nearest is no matter for half precision
            quantised, commitment, tokens = model.quantizer.quantizer(encodings.float())
        counts = token_counts(tokens, len(self.counts))
        self.counts = self.counts.to(counts.device) + counts
        restored = model.decode(quantised)
        found |= {"perplexity": torch.tensor(usage(counts)["perplexity"]), "commitment": commitment}
        with torch.autocast(image.device.type, enabled=False):
            restored, image = restored.float(), image.float()
            found["mse"] = (restored - image).pow(2).mean()
            loss = found["mse"] + commitment.float()
            if self.spectral_weight:
                found["spectral"] = spectral_distance(restored, image)
                loss = loss + self.spectral_weight * found["spectral"]
        perceptual, critic = self._others
        if perceptual is not None:
            if isinstance(perceptual, nn.Module):
                perceptual.to(image.device)
            found["perceptual"] = perceptual(2 * restored - 1, 2 * image - 1).mean()
            loss = loss + self.perceptual_weight * found["perceptual"]
        if critic is not None:
            critic.remember(restored)
            if critic.is_heard:
                found["adversarial"] = critic.verdict(restored)
                loss = loss + self.adversarial_weight * found["adversarial"]
        self.calls += 1
        return {"loss": loss, **found}

    def _restart(self, model: CodebookAutoencoder, encodings: torch.Tensor) -> torch.Tensor:
        """Restart codes where it is time to; how many moved."""
        call = int(self.calls)
        due = self.restart_every and call % self.restart_every == 0
        if not due or (self.restart_until is not None and call >= self.restart_until):
            return torch.zeros(())
        return torch.tensor(float(model.restart_codes(encodings, self.restart_below)))

    def images(self, network: nn.Module, batch: dict, inferer: Any = None) -> dict[str, torch.Tensor]:
        """The first image, or its middle slice, beside its reconstruction, (1, H, 2 W)."""
        image = batch["image"][:1]
        return {"reconstruction": beside(image, network.decode(network.encode(image)))}


class CodebookReport:
    """Handler that says at the end of every epoch how much of the codebook its images used, and begins to count again.

    Args:
        objective: that counts; of several processes all counts are added up.
    """

    def __init__(self, objective: CodebookObjective) -> None:
        self.objective = objective
        self.epochs: list[dict[str, float]] = []

    def attach(self, engine: Engine) -> None:
        """Listen to a trainer."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        """Report and set the counts to zero."""
        counts = self.objective.counts.clone()
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(counts)
        self.objective.counts.zero_()
        found = usage(counts)
        self.epochs.append(found)
        said = f"epoch {engine.state.epoch}: codebook perplexity {found['perplexity']:.1f} of {len(counts)}, "
        engine.tell(said + f"{found['used']:.1%} of the codes used.")
        if engine.writer is not None:
            for name, value in found.items():
                engine.writer.add_scalar(f"codebook/{name}", value, engine.state.iteration)
