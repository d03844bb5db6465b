"""The autoencoder that draws coarse volumes on a finer grid: its two grids, and what it refuses."""

import pytest
import torch

from synthzoo.errors import UserError
from synthzoo.systems.brain_ldm.fine_decoder import FineAutoencoderKL, on_coarse_grid

SMALL = {
    "patch": 4,
    "linear": True,
    "refine": 4,
    "spatial_dims": 3,
    "latent_channels": 8,
    "channels": [8],
    "num_res_blocks": 1,
    "norm_num_groups": 4,
    "attention_levels": [False],
    "with_encoder_nonlocal_attn": False,
    "with_decoder_nonlocal_attn": False,
}


class Model(torch.nn.Module):
    """An autoencoder and the affine of its volumes."""

    def __init__(self) -> None:
        super().__init__()
        self.autoencoder = FineAutoencoderKL((32, 24, 16), detail_channels=8, detail_blocks=1, detail_places=2, **SMALL)
        self.register_buffer("affine", torch.diag(torch.tensor([2.0, 2.0, 2.0, 1.0], dtype=torch.float64)))


def test_the_latent_is_that_of_the_averaged_volume_and_training_begins_at_the_trilinear_copy():
    model = Model()
    fine = torch.nn.functional.interpolate(torch.rand(2, 1, 4, 3, 2), size=(32, 24, 16), mode="trilinear")
    code = model.autoencoder.encode(fine)[0]
    drawn = model.autoencoder.decode(code)
    assert code.shape == (2, 8, 4, 3, 2) and drawn.shape == fine.shape
    on_coarse_grid(model)
    assert (FineAutoencoderKL((32, 24, 16), fine=False, **SMALL).coarser, model.autoencoder.coarser) == (2, 2)
    coarse = torch.nn.functional.avg_pool3d(fine, 2)
    torch.testing.assert_close(model.autoencoder.encode(coarse)[0], code)
    copy = torch.nn.functional.interpolate(model.autoencoder.decode(code), scale_factor=2, mode="trilinear")
    torch.testing.assert_close(copy, drawn)


def test_the_detail_learns_where_it_is():
    torch.manual_seed(0)
    autoencoder = Model().autoencoder
    target = (torch.arange(32) % 4 == 0).float()[:, None, None].expand(1, 1, 32, 24, 16)  # gone in the mean of cubes
    code = autoencoder.encode(target)[0].detach()
    optimizer = torch.optim.Adam(autoencoder.detail.parameters(), 1e-2)
    errors = []
    for _ in range(12):
        error = (autoencoder.decode(code) - target).square().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    assert errors[-1] < 0.8 * errors[0]
    assert autoencoder.detail.places.grad.abs().sum() > 0


def test_a_grid_without_known_places_is_refused_and_other_networks_pass():
    autoencoder = Model().autoencoder
    with pytest.raises(UserError, match="32 x 24 x 16 voxels, and was given a latent of 16 x 24 x 16"):
        autoencoder.decode(torch.zeros(1, 8, 2, 3, 2))
    other = torch.nn.Module()
    other.autoencoder = torch.nn.Identity()
    assert on_coarse_grid(other) is other
