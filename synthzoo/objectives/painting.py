"""Losses of a painter of label maps: a variational autoencoder and adversary at once (arXiv 2209.08256, 2311.04552).

    painter   l1 |x - x'| - mean D(x') + f sum |D_i(x) - D_i(x')| + k KL(code) + c |x' - x''| + w (1 - cos(code, code~))
    critic    mean max(0, 1 - D(x)) + mean max(0, 1 + D(x'))          raw scores (Lim, Ye, arXiv 1705.02894)

x' is painted on the labels of x in the style of another slice of the same scan, x'' in that of a third; code~ is that
of the style slice under an affine warp. So a code carries contrast rather than anatomy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from synthzoo.errors import UserError
from synthzoo.networks.spade import draw_code
from synthzoo.objectives.label_maps import for_each_class

REMEMBERED = 15  # steps over which the critic's accuracy is averaged


class PyramidCritic(nn.Module):
    """Patch discriminators on a pyramid of the image, their own objective, and their verdict for the painter.

    Each sees the labels' arg-max, one-hot, and the image, both average-pooled once more from one to the next. (MONAI's
    `MultiScalePatchDiscriminator` pools nothing: it adds layers.) Second entry of the trainer's `steps`.

    Args:
        discriminators: one for each level: (B, K + 1, ...) -> list of features, the last one the score per patch, such
            as `monai.networks.nets.PatchDiscriminator`.
        highest: mean accuracy over 15 steps from which on the critic waits.
        lowest: mean accuracy below which the painter does not hear it.
        spectral: normalise the spectrum of every convolution.
    """

    name = "critic"

    def __init__(
        self, discriminators: Sequence[nn.Module], highest: float = 0.75, lowest: float = 0.0, spectral: bool = True
    ) -> None:
        super().__init__()
        self.discriminators = nn.ModuleList(discriminators)
        self.highest, self.lowest = float(highest), float(lowest)
        if spectral:
            for module in self.discriminators.modules():
                if isinstance(module, (nn.Conv2d, nn.Conv3d)):
                    spectral_norm(module)
        self.register_buffer("accuracies", torch.full((REMEMBERED,), 0.5))
        self.painted: torch.Tensor | None = None

    @property
    def accuracy(self) -> float:
        """Share of patches that it told right, mean of the last 15 steps."""
        return float(self.accuracies.mean())

    @property
    def is_heard(self) -> bool:
        """Whether the painter learns from it."""
        return self.accuracy >= self.lowest

    def judge(self, maps: torch.Tensor, image: torch.Tensor) -> list[list[torch.Tensor]]:
        """Features of each level, the last one raw scores, of images (B, 1, ...) on label maps (B, K, ...)."""
        hard = F.one_hot(maps.argmax(1), maps.shape[1]).movedim(-1, 1).to(image)
        shown, found = torch.cat([hard, image], 1), []
        pool = F.avg_pool2d if image.ndim == 4 else F.avg_pool3d
        for level, discriminator in enumerate(self.discriminators):
            shown = pool(shown, 2) if level else shown
            found.append(discriminator(shown))
        return found

    def remember(self, painted: torch.Tensor) -> None:
        """Keep the painted images of this iteration for the critic's own step."""
        self.painted = painted.detach()

    def forward(self, network: nn.Module, batch: dict) -> dict[str, torch.Tensor]:
        """`batch["labels"]`, `batch["image"]` -> "loss" (0, and nothing moves, while it waits) and "accuracy"."""
        if self.painted is None:
            raise UserError(
                "train#trainer: the painter's objective with this critic takes the step before the critic's."
            )
        maps, painted, self.painted = batch["labels"], self.painted, None
        waits = self.accuracy >= self.highest
        with torch.set_grad_enabled(not waits):
            real = [features[-1] for features in self.judge(maps, batch["image"])]
            fake = [features[-1] for features in self.judge(maps, painted)]
            loss = sum((F.relu(1 - r).mean() + F.relu(1 + f).mean() for r, f in zip(real, fake)), real[0].new_zeros(()))
        right = [torch.cat([(r > 0).flatten(), (f < 0).flatten()]).float().mean() for r, f in zip(real, fake)]
        accuracy = torch.stack(right).mean().detach()
        self.accuracies.copy_(torch.cat([self.accuracies[1:], accuracy[None]]))
        # A zero without the parameters behind it leaves their gradients None, so that Adam's momentum rests too.
        loss = torch.zeros_like(loss, requires_grad=True) if waits else loss
        return {"loss": loss / len(real), "accuracy": accuracy}


class PainterObjective:
    """Loss of a `StylePainter` under `network.painter`.

    Args:
        critic: a `PyramidCritic` that takes the trainer's second step; None leaves out its two terms.
        l1_weight, adversarial_weight, feature_weight: of the pixel error, the critic's verdict and the distance of its
            features.
        kl_weight: of the code's divergence from N(0, 1), summed over the code and averaged over the batch.
        consistency_weight: of the difference between the pictures in the styles of two slices of one scan.
        cosine_weight: of 1 - cosine between the codes of a style slice and of its warped copy.
        warp: (relative scale, rotation in radians, shift as a share of the image) of that copy, each up to +-.
        harden: share of the samples whose labels are brought to their arg-max, as a user's label maps are.
        class_factors: of each class, by its share of a voxel, in the pixel error: lesions are few voxels, and a painter
            may leave them out at little cost; None counts all alike.
    """

    name = "painter"

    def __init__(
        self,
        critic: PyramidCritic | None = None,
        l1_weight: float = 10.0,
        adversarial_weight: float = 1.0,
        feature_weight: float = 10.0,
        kl_weight: float = 0.0005,
        consistency_weight: float = 1.0,
        cosine_weight: float = 1.0,
        warp: Sequence[float] = (0.2, 0.75, 0.012),
        harden: float = 0.3,
        class_factors: Sequence[float] | None = None,
    ) -> None:
        self.critic, self.l1_weight = critic, l1_weight
        self.adversarial_weight, self.feature_weight = adversarial_weight, feature_weight
        self.kl_weight, self.consistency_weight, self.cosine_weight = kl_weight, consistency_weight, cosine_weight
        self.warp, self.harden = tuple(warp), float(harden)
        self.class_factors = None if class_factors is None else torch.tensor([float(f) for f in class_factors])

    def __call__(self, network: nn.Module, batch: dict) -> dict[str, torch.Tensor]:
        """`batch["labels"]` (B, K, ...), "image" (B, 1, ...), "style" and "other_style" (B, 1, h, w) -> "loss", ..."""
        painter, image = network.painter, batch["image"]
        maps = harden(batch["labels"], self.harden)
        mean, log_variance = painter.style(batch["style"])
        painted = painter(maps, draw_code(mean, log_variance))
        found = {"l1": self.pixel_error(batch["labels"], image, painted)}
        found["kl"] = 0.5 * (mean.pow(2) + log_variance.exp() - log_variance - 1).sum(1).mean()
        loss = self.l1_weight * found["l1"] + self.kl_weight * found["kl"]
        if self.cosine_weight:
            warped = painter.style(warped_copy(batch["style"], *self.warp))[0]
            found["cosine"] = (1 - F.cosine_similarity(mean, warped)).mean()
            loss = loss + self.cosine_weight * found["cosine"]
        if self.consistency_weight:
            other = painter(maps, draw_code(*painter.style(batch["other_style"])))
            found["consistency"] = (painted - other).abs().mean()
            loss = loss + self.consistency_weight * found["consistency"]
        if self.critic is not None:
            loss = loss + self.heard(batch["labels"], image, painted, found)
        return {"loss": loss, **found}

    def pixel_error(self, maps: torch.Tensor, image: torch.Tensor, painted: torch.Tensor) -> torch.Tensor:
        """Mean absolute error, a scalar, each voxel by the factors of its classes.

        Raises:
            UserError: another number of factors than of classes.
        """
        error = (painted - image).abs()
        if self.class_factors is None:
            return error.mean()
        factors = for_each_class("class_factors", self.class_factors, maps)
        return ((factors * maps).sum(1, keepdim=True) * error).mean()

    def heard(
        self, maps: torch.Tensor, image: torch.Tensor, painted: torch.Tensor, found: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        """The critic's two terms, noted in `found`."""
        self.critic.remember(painted)
        if not self.critic.is_heard:
            return painted.new_zeros(())
        fake = self.critic.judge(maps, painted)
        with torch.no_grad():
            real = self.critic.judge(maps, image)
        found["adversarial"] = -torch.stack([features[-1].mean() for features in fake]).mean()
        pairs = [(f, r) for one, two in zip(fake, real) for f, r in zip(one[:-1], two[:-1])]
        found["features"] = torch.stack([(f - r).abs().mean() for f, r in pairs]).mean()
        return self.adversarial_weight * found["adversarial"] + self.feature_weight * found["features"]

    def images(self, network: nn.Module, batch: dict, inferer: Any = None) -> dict[str, torch.Tensor]:
        """The first image, or its middle plane, beside the painted one, (1, H, 2 W)."""
        code = network.painter.style(batch["style"][:1])[0]
        pair = torch.cat([batch["image"][:1], network.painter(batch["labels"][:1], code)], -2)[0].clamp(0, 1)
        pair = pair if pair.ndim == 3 else pair[..., pair.shape[-1] // 2]
        return {"painted": pair}


def harden(maps: torch.Tensor, share: float) -> torch.Tensor:
    """Label maps (B, K, ...) of which a share of the samples, at random, is brought to the arg-max."""
    hard = F.one_hot(maps.argmax(1), maps.shape[1]).movedim(-1, 1).to(maps)
    chosen = torch.rand(len(maps), device=maps.device) < share
    return torch.where(chosen.reshape(-1, *(1 for _ in maps.shape[1:])), hard, maps)


def warped_copy(images: torch.Tensor, scale: float, rotation: float, shift: float) -> torch.Tensor:
    """Slices (B, 1, h, w) under affine maps of their own: relative size, radians, share of the image, each up to +-."""
    draws = 2 * torch.rand(5, len(images), device=images.device) - 1
    angle, size = rotation * draws[0], 1 + scale * draws[1:3]
    cos, sin = angle.cos(), angle.sin()
    moved = 2 * shift * draws[3:]
    theta = torch.stack([cos * size[0], -sin * size[0], moved[0], sin * size[1], cos * size[1], moved[1]], 1)
    grid = F.affine_grid(theta.reshape(-1, 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)
