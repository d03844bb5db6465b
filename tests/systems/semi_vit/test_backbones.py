"""Backbones of timm: random, from a file, of another grid, and what an unfit one is refused with."""

from __future__ import annotations

import pytest
import torch

from synthzoo.errors import UserError
from synthzoo.systems.semi_vit.network import ImageClassifier
from synthzoo.systems.semi_vit.published_weights import load_backbone

NAME = "vit_tiny_patch16_224"
TINY = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}


def masked_autoencoder(path, **changed):
    """A file as MAE leaves it: a class token, a last normalisation, a decoder, all under "model"."""
    torch.manual_seed(1)
    source = load_backbone(NAME, num_classes=0, global_pool="token", **{**TINY, **changed})
    state = {**source.state_dict(), "mask_token": torch.zeros(1, 1, 8), "decoder_embed.weight": torch.zeros(8, 16)}
    torch.save({"model": state}, path)
    return source


def test_weights_of_a_masked_autoencoder_reach_the_backbone(tmp_path):
    path = tmp_path / "mae.pth"
    source = masked_autoencoder(path)
    network = ImageClassifier(
        5,
        settings={"name": NAME, "source": str(path), "image_size": 32, "patch": 8}
        | {key: TINY[key] for key in ("embed_dim", "depth", "num_heads")},
    )
    own = network.body.vit.state_dict()
    for name, value in source.state_dict().items():
        assert name.startswith("norm.") or torch.equal(own[name], value), name
    assert network(torch.rand(2, 3, 32, 32)).shape == (2, 5)
    assert network.body.prefix == 1, "the class token is read along and left out of the mean"


def test_positions_of_another_grid_are_resampled(tmp_path):
    path = tmp_path / "mae.pth"
    masked_autoencoder(path)
    larger = load_backbone(NAME, str(path), num_classes=0, global_pool="avg", **{**TINY, "img_size": 48})
    assert larger.pos_embed.shape == (1, 37, 16)


def test_safetensors_are_read_too(tmp_path):
    from safetensors.torch import save_file

    source = load_backbone(NAME, num_classes=0, **TINY)
    path = tmp_path / "vit.safetensors"
    save_file(source.state_dict(), str(path))
    again = load_backbone(NAME, str(path), num_classes=0, **TINY)
    assert torch.equal(again.blocks[1].mlp.fc1.weight, source.blocks[1].mlp.fc1.weight)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"depth": 1}, "blocks.1.norm1.weight is missing"),
        ({"embed_dim": 32}, "these weights belong to another network"),
    ],
)
def test_weights_of_another_size_are_one_sentence(tmp_path, change, part):
    path = tmp_path / "mae.pth"
    masked_autoencoder(path, **change)
    with pytest.raises(UserError, match=part):
        load_backbone(NAME, str(path), num_classes=0, global_pool="avg", **TINY)


def test_a_missing_file_and_an_unknown_model_are_one_sentence(tmp_path):
    with pytest.raises(UserError, match="do not exist"):
        load_backbone(NAME, str(tmp_path / "none.pth"), num_classes=0, **TINY)
    with pytest.raises(UserError, match="timm makes no vit_of_nobody"):
        load_backbone("vit_of_nobody", None)


def test_a_tag_asks_the_hub_which_may_be_out_of_reach(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="cannot be fetched|timm makes no"):
        load_backbone("vit_base_patch16_224", "mae", num_classes=0)


def test_a_classifier_says_what_it_cannot_be():
    with pytest.raises(UserError, match="body = 'tree'"):
        ImageClassifier(3, "tree")
    with pytest.raises(UserError, match="at least 2"):
        ImageClassifier(1)
