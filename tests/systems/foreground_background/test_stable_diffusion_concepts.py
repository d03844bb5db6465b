"""Masks by Stable Diffusion 1 from a folder that diffusers' and transformers' own classes wrote, small and random."""

import importlib.util
import shutil

import pytest
import torch
from released_model import save_model

from synthzoo.errors import UserError
from synthzoo.networks.cross_attention import attention_layers
from synthzoo.systems.foreground_background.inferer import ConceptInferer
from synthzoo.systems.foreground_background.published import stable_diffusion_concepts

INSTALLED = all(importlib.util.find_spec(name) for name in ("diffusers", "transformers"))
pytestmark = pytest.mark.skipif(not INSTALLED, reason="needs diffusers and transformers: synthzoo[text]")


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """Folder and parts of a small model in the layout of Stable Diffusion 1."""
    folder = tmp_path_factory.mktemp("released") / "stable-diffusion-v1"
    return folder, save_model(folder, linear=False)


def test_the_network_is_that_of_the_folder(released):
    folder, parts = released
    network, image = stable_diffusion_concepts(folder, 32), torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        theirs = parts["vae"].encode(2 * image - 1).latent_dist.mean * parts["vae"].config.scaling_factor
        assert torch.allclose(network.encode(image), theirs, atol=1e-5)
        context = network.context(["a photo of a bird"])
        given = network.tokenizer(["a photo of a bird"])
        assert torch.equal(context, parts["text_encoder"](given).last_hidden_state)
        noisy, t = torch.randn(1, 4, 16, 16), torch.tensor([401])
        predicted = parts["unet"](noisy, t, encoder_hidden_states=context).sample
        assert torch.allclose(network.denoiser(noisy, t, context=context), predicted, atol=1e-4)
    assert len(attention_layers(network.denoiser)) > 4 and network.schedule.prediction == "epsilon"


def test_any_word_has_a_weak_mask_and_a_removal(released):
    network = stable_diffusion_concepts(released[0], 32)
    images, shapes = torch.rand(2, 3, 32, 32), torch.tensor([[20, 40], [64, 64]])
    found = ConceptInferer("hummingbird", timesteps=(1, 401), steps=2)(images, network, shapes)
    assert found["pred"].shape == found["mask"].shape == (2, 1, 32, 32) and found["background"].shape == images.shape
    assert found["pred"][0, 0, :8].max() == 0 and found["pred"][1].max() == 1
    words = dict(network.tokenizer.words(network.prompt_of("hummingbird")))
    assert len(words["hummingbird"]) > 1  # several tokens, all of which are read
    assert network.tokenizer.check("golden retriever") == "golden retriever"
    with pytest.raises(UserError, match="trained on none"):
        ConceptInferer("dog", "trained").stage_for(network)


@pytest.mark.parametrize("part", ["unet", "scheduler", "tokenizer"])
def test_a_folder_that_lacks_a_part_is_told(released, tmp_path, part):
    folder = shutil.copytree(released[0], tmp_path / "model")
    shutil.rmtree(folder / part)
    with pytest.raises(UserError, match=f"lacks {part}"):
        stable_diffusion_concepts(folder, 32)


def test_a_folder_or_size_that_cannot_be_is_told(released, tmp_path):
    for folder in ("", tmp_path / "none"):
        with pytest.raises(UserError, match="is no folder: give a local copy"):
            stable_diffusion_concepts(folder)
    with pytest.raises(UserError, match="multiple of 8"):
        stable_diffusion_concepts(released[0], 33)
