"""Loss of "Many tasks make light work": each member regresses the soft labels of its own fold's tasks."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from synthzoo.systems.many_tasks.network import PRIOR_LOGIT, trains


class ManyTasksLoss:
    """Error of every member on the samples that its fold may see: squared, or cross entropy where members give logits.

    Called with the ensemble and a batch: `image` (B, 1, h, w) with anomalies, `label` (B, 1, h, w) in [0, 1], `task`
    and `block` (B,), and for slices `axis` and `index` (B,) (one axis a batch). Returns "loss", the sum over members
    (their parameters are apart, so each has its own mean), and "held_out", the mean error on tasks that a member never
    trains on. Outside the brain the output is 0, as in `forward`.

    Args:
        weight: voxels with a positive label count 1 + weight times; 0 is the paper's plain mean.
    """

    def __init__(self, weight: float = 0.0) -> None:
        self.weight = weight

    def __call__(self, network: torch.nn.Module, batch: dict) -> dict[str, torch.Tensor]:
        network = getattr(network, "module", network)
        image, label = batch["image"], batch["label"]
        task, block = torch.as_tensor(batch["task"]), torch.as_tensor(batch["block"])
        if network.spatial_dims == 2:
            axis, index = int(batch["axis"][0]), torch.as_tensor(batch["index"])
            x = network.with_positions(image, axis, index)
        else:
            x = network.with_mirror(torch.cat([image, network.positions.expand(len(image), -1, -1, -1, -1)], 1), 0)
        losses, held_out = [], []
        for fold, member in zip(network.folds, network.members):
            own = trains(fold, task, block).to(x.device)
            if own.any():
                losses.append(self._error(network, member(x[own]), image[own] != 0, label[own]))
            other = ~torch.isin(task, torch.as_tensor(fold)).to(x.device)
            if other.any() and torch.is_grad_enabled() and len(held_out) == 0:
                with torch.no_grad():
                    guess = network.activate(member(x[other])) * (image[other] != 0)
                    held_out.append(F.mse_loss(guess, label[other]))
        loss = torch.stack(losses).sum() if losses else 0 * sum(p.sum() for p in network.parameters())
        result = {"loss": loss, "per_member": loss.detach() / max(len(losses), 1)}
        if held_out:
            result["held_out"] = torch.stack(held_out).mean()
        return result

    def _error(
        self, network: torch.nn.Module, output: torch.Tensor, brain: torch.Tensor, label: torch.Tensor
    ) -> torch.Tensor:
        weights, output = 1 + self.weight * (label > 0), output.float()  # sums of a slice lose bits in bfloat16
        if network.logits:
            error = F.binary_cross_entropy_with_logits(output + PRIOR_LOGIT, label, reduction="none")
            return (weights * brain * error).sum() / brain.sum().clamp(min=1)
        return (weights * (output * brain - label) ** 2).mean()
