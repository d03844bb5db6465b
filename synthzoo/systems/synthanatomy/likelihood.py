"""How well the transformer predicts unseen codes, in nats a code, beside what counting alone predicts.

unigram       - sum_k p_k log p_k, p the shares of the codes in the training set: their place is not looked at
by place      mean of - log (n_ik + a) / (N + a K), n_ik how often code k stood at place i in N training images
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from synthzoo.networks.codebook import token_counts, usage

SMOOTHING = 0.02


def unigram_entropy(tokens: torch.Tensor, codes: int) -> float:
    """Entropy in nats of the codes in `tokens` (N, T), wherever they stand."""
    return float(torch.tensor(usage(token_counts(tokens, codes))["perplexity"]).log())


def entropy_by_place(train: torch.Tensor, unseen: torch.Tensor, codes: int) -> float:
    """Cross-entropy in nats a code of unseen sequences (M, T) under the frequencies of each place in `train` (N, T)."""
    total = 0.0
    for place in range(train.shape[1]):
        counts = token_counts(train[:, place], codes).double() + SMOOTHING
        total -= float((counts / counts.sum()).log()[unseen[:, place].long()].mean())
    return total / train.shape[1]


@torch.inference_mode()
def cross_entropy(network: Any, rows: Dataset, which: str = "requested", batch_size: int = 2, seed: int = 0) -> float:
    """Mean of - log p in nats a code over rows {"tokens", "conditions"}.

    Args:
        network: with `log_likelihood`.
        rows: of unseen images.
        which: "requested" gives each row its own conditions, "shuffled" another row's, "unset" none.
        batch_size: rows at once.
        seed: of the shuffling.
    """
    count = len(rows)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    device, total = next(network.parameters()).device, 0.0
    for first in tqdm(range(0, count, batch_size), desc=f"likelihood, conditions {which}", mininterval=5.0):
        part = range(first, min(first + batch_size, count))
        tokens = torch.stack([rows[row]["tokens"] for row in part]).to(device)
        sources = [int(order[row]) if which == "shuffled" else row for row in part]
        conditions = torch.stack([rows[row]["conditions"] for row in sources]).to(device)
        found = network.log_likelihood(tokens, None if which == "unset" else conditions)
        total -= float(found.mean(1).sum())
    return total / count
