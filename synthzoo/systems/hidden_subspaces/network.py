"""The re-identification network of Dombrowski, Reynaud and Kainz, "Uncovering Hidden Subspaces in Video Diffusion
Models Using Re-Identification" (2024, arXiv 2411.04956): do two frames show one patient?

    e(x) = sigmoid(ResNet(x)) in (0, 1)^K,    logit(q, t) = b + sum_k w_k |e_qk - e_tk|

Each frame is scaled to [-1, 1] by its own least and greatest value inside the network, so that videos of any range and
any source are treated alike. With the names and shapes of torchvision's ResNet, so that published weights fit.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.nets import ResNet
from torch import nn


class ReidNetwork(nn.Module):
    """Frames (N, C, H, W) -> embeddings (N, K) in (0, 1); `logits` compares embeddings.

    Args:
        channels: C, 1 for grey frames, 4 for latents.
        block: "basic" or "bottleneck".
        layers: blocks in each of the four stages; [3, 4, 6, 3] with bottlenecks is ResNet-50.
        widths: channels of the four stages, those of the published networks by default.
        embedding: K.
        first_size, first_stride: of the first convolution.
        max_pool: halve the frames once more after it.
    """

    def __init__(
        self,
        channels: int = 1,
        block: str = "basic",
        layers: Sequence[int] = (1, 1, 1, 1),
        widths: Sequence[int] = (64, 128, 256, 512),
        embedding: int = 128,
        first_size: int = 7,
        first_stride: int = 2,
        max_pool: bool = True,
    ) -> None:
        super().__init__()
        self.channels, self.embedding = int(channels), int(embedding)
        self.model = ResNet(
            block=block,
            layers=list(layers),
            block_inplanes=list(widths),
            spatial_dims=2,
            n_input_channels=self.channels,
            conv1_t_size=first_size,
            conv1_t_stride=first_stride,
            no_max_pool=not max_pool,
            num_classes=self.embedding,
            bias_downsample=False,
        )
        self.fc_end = nn.Linear(self.embedding, 1)
        # Unlike embeddings mean unlike patients: starting there saves the first hundreds of steps.
        nn.init.constant_(self.fc_end.weight, -0.3)
        nn.init.constant_(self.fc_end.bias, 3.0)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.model(to_own_range(image)))

    def head(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Logit (...) that paired embeddings (..., K) are of one patient."""
        return self.fc_end((first - second).abs())[..., 0]

    def logits(self, queries: torch.Tensor, references: torch.Tensor) -> torch.Tensor:
        """Logits that each query and each reference are one patient: (Q, K), (R, K) -> (Q, R); 0 is an even chance."""
        return compare(queries, references, self.fc_end.weight[0], self.fc_end.bias[0])


def published(channels: int = 4) -> ReidNetwork:
    """The published network: ResNet-50, for latents (N, 4, 14, 14), 23.8 million parameters."""
    return ReidNetwork(channels, "bottleneck", (3, 4, 6, 3))


def to_own_range(image: torch.Tensor) -> torch.Tensor:
    """Each of (N, C, H, W) scaled to [-1, 1] by its own least and greatest value; a constant one becomes -1."""
    low, high = image.amin((1, 2, 3), keepdim=True), image.amax((1, 2, 3), keepdim=True)
    return (image - low) / (high - low).clamp_min(1e-6) * 2 - 1


def compare(queries: torch.Tensor, references: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """b + sum_k w_k |q_k - r_k| for all pairs of (Q, K) and (R, K), float (Q, R).

    A weighted L1 distance is the L1 distance of scaled vectors; weights of either sign are done apart, so that no
    block of Q x R x K numbers is ever made.
    """
    result = bias.expand(len(queries), len(references))
    for sign in (-1, 1):
        chosen = sign * weight > 0
        if bool(chosen.any()):
            scale = weight[chosen].abs()
            result = result + sign * torch.cdist(queries[:, chosen] * scale, references[:, chosen] * scale, p=1)
    return result
