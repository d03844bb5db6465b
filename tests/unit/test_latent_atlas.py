"""The atlas of a latent holds what least squares says, and says nothing of a condition that was left out."""

import torch

from synthzoo.networks.latent_atlas import LatentAtlas

SHAPE = (2, 3, 4, 3)


def fitted(samples: int = 400) -> tuple[LatentAtlas, torch.Tensor, torch.Tensor, torch.Tensor]:
    """An atlas fitted on latents that depend exactly on c_1 and on the square of c_2."""
    draw = torch.Generator().manual_seed(0)
    context = torch.rand(samples, 2, generator=draw)
    first, second = torch.randn(2, *SHAPE, generator=draw)
    latents = torch.einsum("n,...->n...", context[:, 0], first) + torch.einsum(
        "n,...->n...", context[:, 1] ** 2, second
    )
    latents -= latents.mean(0)
    atlas = LatentAtlas(SHAPE, 2)
    template = torch.randn(SHAPE, generator=draw)
    atlas.fit(template, latents, context)
    return atlas, template, latents, context


def test_the_expected_deviation_is_found():
    atlas, _, latents, context = fitted()
    found = atlas(context)[:, : SHAPE[0]]
    assert (found - latents).pow(2).mean() < 0.01 * latents.pow(2).mean()


def test_a_condition_left_out_changes_nothing():
    atlas, template, _, _ = fitted()
    maps = atlas(torch.full((1, 2), -1.0))
    assert not maps[:, : SHAPE[0]].any()
    assert torch.allclose(maps[0, SHAPE[0] : 2 * SHAPE[0]], template / template.std())
    assert torch.equal(maps[0, 2 * SHAPE[0] :, -1, -1, -1], torch.ones(3))


def test_rows_without_a_condition_do_not_spoil_the_fit():
    atlas, template, latents, context = fitted()
    context[:50] = -1
    again = LatentAtlas(SHAPE, 2)
    again.fit(template, latents, context)
    whole = context[50:]
    assert torch.isfinite(again.effects).all()
    assert (again(whole)[:, : SHAPE[0]] - latents[50:]).pow(2).mean() < 0.05 * latents.pow(2).mean()
