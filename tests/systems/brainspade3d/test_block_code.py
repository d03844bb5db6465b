"""The linear code of cubes beside an autoencoder: where it starts, and what it refuses."""

import numpy as np
import pytest
import torch

from synthzoo.errors import UserError
from synthzoo.systems.brainspade3d.block_code import BlockCodeAutoencoderKL, start_from_cubes

SMALL = {
    "patch": 2,
    "spatial_dims": 3,
    "in_channels": 2,
    "out_channels": 2,
    "latent_channels": 6,
    "channels": [8, 8],
    "num_res_blocks": 1,
    "norm_num_groups": 4,
    "attention_levels": [False, False],
    "with_encoder_nonlocal_attn": False,
    "with_decoder_nonlocal_attn": False,
}


def halves(count: int) -> list[dict[str, torch.Tensor]]:
    """Volumes of two classes whose border is a plane anywhere across the first axis."""
    rows = []
    for seed in range(count):
        border = np.random.default_rng(seed).integers(2, 14)
        inside = (torch.arange(16) < border).float()[:, None, None].expand(16, 8, 8)
        rows.append({"labels": torch.stack([inside, 1 - inside])})
    return rows


def test_training_begins_at_the_linear_code():
    rows = halves(24)
    network = start_from_cubes(BlockCodeAutoencoderKL(4, **SMALL), rows)
    with torch.no_grad():
        codes = [network.encode(row["labels"][None])[0] for row in rows]
        right = [
            (network.decode(code)[0].argmax(0) == row["labels"].argmax(0)).float().mean()
            for code, row in zip(codes, rows)
        ]
    assert min(right) == 1.0  # three places of a border in a cube need three directions
    assert torch.cat(codes).std() < 3  # in units of their own spread


def test_the_same_seed_gives_the_same_code_and_leaves_the_generators_alone():
    np.random.seed(5)
    torch.manual_seed(5)
    both = [start_from_cubes(BlockCodeAutoencoderKL(4, **SMALL), halves(12), seed=1).cubes_in.weight for _ in range(2)]
    torch.testing.assert_close(*both)
    after = np.random.random()
    np.random.seed(5)
    assert after == np.random.random()


def test_it_trains():
    network = start_from_cubes(BlockCodeAutoencoderKL(4, **SMALL), halves(12))
    network.decode(network.encode(halves(1)[0]["labels"][None])[0]).square().mean().backward()
    assert all(p.grad is not None for p in (network.cubes_in.weight, network.cubes_out.weight))


def test_what_does_not_fit_is_told():
    with pytest.raises(UserError, match="give edge = 4"):
        BlockCodeAutoencoderKL(8, **SMALL)
    with pytest.raises(UserError, match="no BlockCodeAutoencoderKL"):
        start_from_cubes(torch.nn.Linear(1, 1), halves(2))
    empty = [{"labels": torch.zeros(2, 4, 4, 4)}]
    with pytest.raises(UserError, match="give more"):
        start_from_cubes(BlockCodeAutoencoderKL(4, **SMALL), empty)
