"""Losses of the brain instruments: soft tissue fractions, and age."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from synthzoo.metrics import brain_age, brain_segmentation


class TissueLoss:
    """Cross-entropy to the soft fractions, plus the relative error of each tissue's volume.

        L = - mean_v sum_k t_kv log p_kv + 0.1 mean_k |sum_v p_kv - sum_v t_kv| / (sum_v t_kv + 200)

    The minimum of the first is p = t, so fractions keep their millilitres; the second sharpens just that.
    """

    def __call__(self, network: torch.nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        logs = network(brain_segmentation.normalise(batch["image"])).log_softmax(1)
        shares = batch["shares"]
        entropy = -(shares * shares.clamp_min(1e-6).log()).sum(1).mean()
        cross = -(shares * logs).sum(1).mean() - entropy  # the divergence: 0 when exact
        found, asked = logs.exp().sum((2, 3, 4))[:, 1:], shares.sum((2, 3, 4))[:, 1:]
        volume = ((found - asked).abs() / (asked + 200)).mean()
        return {"loss": 10 * cross + 0.1 * volume, "divergence": cross, "volume": volume}


class AgeLoss:
    """Smooth L1 between standardised ages."""

    def __call__(self, network: torch.nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        target = (batch["age"] - brain_age.AGE_CENTRE) / brain_age.AGE_SCALE
        found = network(brain_segmentation.normalise(batch["image"]))
        years = (found - target).abs().mean() * brain_age.AGE_SCALE
        return {"loss": F.smooth_l1_loss(found, target, beta=0.2), "mae_years": years}
