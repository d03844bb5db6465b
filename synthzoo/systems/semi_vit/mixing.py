"""Probabilistic pseudo mixup: unlabelled images are mixed in proportion to how sure a teacher is of each.

For images i of a batch and a random permutation pi, with the teacher's confidence o (Cai et al., NeurIPS 2022, section
3.3, and `ProbPseudoMixup` of the authors' `util/mixup.py`):

    lam_i = o_i / (o_i + o_pi(i))                         the surer image dominates, no Beta is drawn
    o~_i  = max(o_i, o_pi(i))                             an unsure image lives on beside a sure one
    x~_i  = lam_i x_i + (1 - lam_i) x_pi(i)               mixup, or by chance
    x~_i  = x_i with a box of share 1 - lam_i of x_pi(i)  CutMix; lam_i is then what the box has left
    y~_i  = lam_i y_i + (1 - lam_i) y_pi(i)
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from synthzoo.systems.semi_vit.augmentation import box_mask


class Mixed(NamedTuple):
    """A mixed batch.

    Attributes:
        images: (B, C, *S).
        targets: (B, K), sums of 1.
        confidence: (B,), of the surer of both.
        kept: lam (B,), share of the image itself.
    """

    images: torch.Tensor
    targets: torch.Tensor
    confidence: torch.Tensor
    kept: torch.Tensor


def smoothed(labels: torch.Tensor, classes: int, smoothing: float = 0.1) -> torch.Tensor:
    """Targets (B, K): smoothing / K everywhere and 1 - smoothing more at the label."""
    return torch.nn.functional.one_hot(labels, classes).float() * (1 - smoothing) + smoothing / classes


def pseudo_mixup(
    images: torch.Tensor, targets: torch.Tensor, confidence: torch.Tensor, cut: float = 0.5, order: torch.Tensor = None
) -> Mixed:
    """Mix a batch of pseudo-labelled images by the formulas above; its number of images may be odd.

    Args:
        images: (B, C, *S).
        targets: of the pseudo-labels, (B, K).
        confidence: o, (B,), above 0.
        cut: share of images that are mixed by a box.
        order: pi, (B,); None draws one.
    """
    order = torch.randperm(len(images), device=images.device) if order is None else order
    other = confidence[order]
    share = confidence / (confidence + other)
    mixed = mix(images, targets, share, cut, order)
    return mixed._replace(confidence=torch.maximum(confidence, other))


def beta_mixup(images: torch.Tensor, targets: torch.Tensor, alpha: float = 0.8, cut: float = 0.5) -> Mixed:
    """Mix a batch of labelled images with shares of a Beta distribution (Zhang et al., ICLR 2018; Yun et al., 2019)."""
    share = torch.distributions.Beta(alpha, alpha).sample((len(images),)).to(images.device)
    return mix(images, targets, share, cut, torch.randperm(len(images), device=images.device))


def mix(images: torch.Tensor, targets: torch.Tensor, share: torch.Tensor, cut: float, order: torch.Tensor) -> Mixed:
    """Mix a batch with itself in another order; the confidence is 1.

    Args:
        images, targets: (B, C, *S) and (B, K).
        share: of the image itself, (B,).
        cut: share of images that are mixed by a box, the others by a weighted sum.
        order: of the partners.
    """
    sides, device = images.shape[2:], images.device
    boxed = torch.rand(len(images), device=device) < cut
    centre = torch.rand(len(images), len(sides), device=device)
    inside = box_mask(centre, (1 - share).clamp(min=0) ** (1 / len(sides)), sides)
    left = 1 - inside.float().flatten(1).mean(1)  # a box at the edge is smaller than was drawn
    kept = torch.where(boxed, left, share)
    shape = (-1, *(1,) * (images.ndim - 1))
    partner = images[order]
    blended = share.view(shape) * images + (1 - share).view(shape) * partner
    found = torch.where(boxed.view(shape), torch.where(inside, partner, images), blended)
    soft = kept[:, None] * targets + (1 - kept)[:, None] * targets[order]
    return Mixed(found.to(images), soft, torch.ones_like(kept), kept)
