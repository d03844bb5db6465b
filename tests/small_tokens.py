"""A token model of a second: a codebook of 12, a grid of 3 x 4 x 3, a transformer of two layers."""

import torch

from synthzoo.networks.codebook import CodebookAutoencoder
from synthzoo.networks.token_images import TokenImages
from synthzoo.networks.token_transformer import TokenTransformer

CODES, GRID, LENGTH = 12, (3, 4, 3), 36
ORDER = {"rot90_axes": [[0, 1]], "transpositions_axes": [[2, 0, 1]], "transformation_order": ["rotate_90", "transpose"]}


def small_autoencoder(**settings) -> CodebookAutoencoder:
    """Two levels, factor 4."""
    torch.manual_seed(0)
    sizes = {"channels": (8, 8), "num_res_channels": (8, 8), "num_res_layers": 1, "embedding_dim": 4}
    sizes |= {"downsample_parameters": ((2, 4, 1, 1),) * 2, "upsample_parameters": ((2, 4, 1, 1, 0),) * 2}
    sizes |= {"spatial_dims": 3, "in_channels": 1, "out_channels": 1, "num_embeddings": CODES, "decay": 0.9}
    return CodebookAutoencoder(**{**sizes, **settings})


def small_transformer(cross: bool = True, **settings) -> TokenTransformer:
    """Two layers of width 16."""
    torch.manual_seed(1)
    sizes = {"attn_layers_dim": 16, "attn_layers_depth": 2, "attn_layers_heads": 4, "with_cross_attention": cross}
    network = TokenTransformer(CODES + 1, LENGTH, **{**sizes, **settings})
    with torch.no_grad():
        network.to_logits.weight.mul_(6)  # so that distributions are far from even
    return network.eval()


def small_token_images(**settings) -> TokenImages:
    """Both, without conditions, with one voxel of margin along the last axis."""
    parts = {"autoencoder": small_autoencoder(), "transformer": small_transformer(cross=False)}
    return TokenImages(**{**parts, "token_shape": GRID, "margin": (0, 0, 1), "ordering": ORDER, **settings}).eval()
