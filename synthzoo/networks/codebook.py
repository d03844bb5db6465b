"""A vector-quantised autoencoder: MONAI's `VQVAE` whose codebook is only moved on purpose, and never dies.

    token(x) = argmin_k |z(x) - e_k|^2;   e_k follows the running mean of the z that it stands for (van den Oord 2017)
    perplexity = exp(- sum_k p_k log p_k), p_k the share of tokens that are k: the number of codes in even use

MONAI's `index_quantize` moves the codebook whenever the network is in training mode; `encode_tokens` never does. A code
that no image needs any more is put where the error is largest (random restarts, Dhariwal et al., "Jukebox", 2020).
"""

from __future__ import annotations

from typing import Any

import torch
from monai.networks.blocks import Convolution
from monai.networks.nets import VQVAE
from monai.networks.nets.vqvae import VQVAEResidualUnit
from torch import distributed

from synthzoo.errors import UserError


class CodebookAutoencoder(VQVAE):
    """MONAI's VQ-VAE with tokens in and out, and dead codes started again.

    Args:
        residual_kernel: of the second convolution of each residual unit: 3 as in MONAI, 1 as in the published weights
            of SynthAnatomy.
        settings: of `monai.networks.nets.VQVAE`.

    Raises:
        UserError: another kernel.
    """

    def __init__(self, residual_kernel: int = 3, **settings: Any) -> None:
        super().__init__(**settings)
        if residual_kernel not in (1, 3):
            raise UserError(f"residual_kernel = {residual_kernel!r}: it is 3, or 1 for the published weights.")
        for unit in self.modules() if residual_kernel == 1 else ():
            if isinstance(unit, VQVAEResidualUnit):
                unit.conv2 = Convolution(
                    unit.spatial_dims, unit.num_res_channels, unit.in_channels, kernel_size=1, padding=0, conv_only=True
                )

    def encode_tokens(self, image: torch.Tensor) -> torch.Tensor:
        """Image (B, C, *spatial) -> tokens (B, *grid), int64 in [0, num_embeddings)."""
        encodings = self.encode(image)
        with torch.autocast(image.device.type, enabled=False):  # which code is nearest is no matter for half precision
            return self.quantizer.quantizer.quantize(encodings.float())[2]

    def decode_tokens(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens (B, *grid) -> image (B, C, *spatial), not clamped."""
        return self.decode_samples(tokens)

    @torch.no_grad()
    def restart_codes(self, encodings: torch.Tensor, below: float = 0.03) -> int:
        """Put codes that are hardly used at vectors of this batch, those of large error most probably.

        The choice comes from torch's global generator; of several processes the first one's holds for all.

        Args:
            encodings: what the encoder gives, (B, embedding_dim, *grid).
            below: a code is hardly used if its running count is below this share of the mean count.

        Returns:
            number of codes that moved: all of them before the first update.
        """
        book = self.quantizer.quantizer
        vectors = encodings.detach().float().movedim(1, -1).reshape(-1, self.embedding_dim)
        counts = book.ema_cluster_size
        fresh = bool(counts.sum() == 0)
        dead = (counts <= below * counts.mean()).nonzero().flatten()
        if not len(dead):
            return 0
        if fresh:
            error = (vectors - vectors.mean(0)).pow(2).sum(1)
        else:
            error = torch.cdist(vectors, book.embedding.weight).amin(1).pow(2)
        chosen = torch.multinomial(error + 1e-6 * error.mean() + 1e-12, len(dead), replacement=len(dead) > len(error))
        found = vectors[chosen]
        if distributed.is_available() and distributed.is_initialized():
            distributed.broadcast(found, src=0)
        count = 1.0 if fresh else float(counts.mean())
        book.embedding.weight[dead] = found
        book.ema_w[dead] = found * count
        book.ema_cluster_size[dead] = count
        return len(dead)


def token_counts(tokens: torch.Tensor, codes: int) -> torch.Tensor:
    """How often each of `codes` tokens stands in `tokens` (any shape): int64 (codes,)."""
    return torch.bincount(tokens.flatten(), minlength=codes)


def usage(counts: torch.Tensor) -> dict[str, float]:
    """Use of a codebook by counts (K,): "perplexity" in [1, K] and "used", the share of codes that occur at all."""
    share = counts.double() / counts.sum().clamp_min(1)
    entropy = -(share * share.clamp_min(1e-30).log()).sum()
    return {"perplexity": float(entropy.exp()), "used": float((counts > 0).double().mean())}
