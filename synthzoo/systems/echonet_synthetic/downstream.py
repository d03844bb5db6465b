"""The test of a surrogate data set: a regressor of the ejection fraction (EF) trained on it alone, tried on real ones.

The network is that of the EF instrument (R(2+1)D pairs, Tran et al. 2018) with new weights, so that it knows only the
videos that it is given here; the videos are moved, blurred and brightened at random in training.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from synthzoo.instruments.echo.networks import GRID, EFRegressor, to_grid
from synthzoo.instruments.echo.training import disturb, move


def train_regressor(
    videos: torch.Tensor, ef: np.ndarray, steps: int = 160, batch_size: int = 8, rate: float = 3e-3, seed: int = 0
) -> EFRegressor:
    """A network that reads EF, trained from new weights.

    Args:
        videos: (N, 1, T, S, S) in [0, 1].
        ef: fractions (N,).
        steps: of AdamW, one cycle of the learning rate.
        batch_size, rate, seed: of the training.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = EFRegressor().train()
        optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-2)
        warmup = 0.12  # share of the steps
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=warmup)
        truth = torch.as_tensor(np.asarray(ef), dtype=torch.float32)
        order = torch.zeros(0, dtype=torch.int64)
        for _ in range(steps):
            while len(order) < batch_size:
                order = torch.cat([order, torch.randperm(len(videos))])
            rows, order = order[:batch_size], order[batch_size:]
            with torch.no_grad():
                pixel = torch.full((batch_size,), GRID / videos.shape[-1])
                video = disturb(move([to_grid(videos[rows, 0])])[0], pixel)
            with torch.autocast("cpu", torch.bfloat16):
                read = network(video[:, None])
            loss = F.smooth_l1_loss(10 * read.float(), 10 * truth[rows], beta=0.5)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
    return network.eval()


@torch.inference_mode()
def read_videos(network: EFRegressor, videos: torch.Tensor, batch_size: int = 16) -> np.ndarray:
    """EFs of videos (N, 1, T, S, S) as fractions, float64 (N,)."""
    return torch.cat([network(to_grid(part)) for part in videos.split(batch_size)]).double().numpy()
