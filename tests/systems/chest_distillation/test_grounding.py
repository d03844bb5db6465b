"""Grounding by cross-attention: what is read, masks and boxes, scores by definition, and a map that must be right."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from small_text_model import small_network

from synthzoo.errors import UserError
from synthzoo.inferers.text_to_image import TextToImageInferer
from synthzoo.inferers.word_attention import masks_of
from synthzoo.networks.cross_attention import attention_layers, chosen_layers, recorded, word_maps
from synthzoo.networks.saving import save_weights
from synthzoo.networks.text_to_image import trained_parameters
from synthzoo.objectives.text_diffusion import TextDiffusionObjective
from synthzoo.systems.chest_distillation.inferer import GroundingInferer
from synthzoo.systems.chest_distillation.scores import box_mask, centre_distance, contrast, hits, overlap, score
from synthzoo.systems.chest_distillation.variants import read_variant
from synthzoo.transforms.mixture_masks import box_of, mixture_mask, mixture_threshold

# --- reading the attention --------------------------------------------------------------------------------------------


def test_layers_are_read_by_their_place_and_left_as_they_were():
    network = small_network()
    names = list(attention_layers(network.denoiser))
    assert len(names) == 4 and names[0].startswith("down_blocks.1.attentions.0")
    assert list(chosen_layers(network.denoiser, "up_blocks")) == names[2:]
    layer = chosen_layers(network.denoiser, names[:1])
    with recorded(layer), torch.no_grad():
        context = network.context(["left nodule"])
        network.denoiser(torch.randn(1, 4, 8, 8), torch.tensor([5]), context=context)
        weights = layer[names[0]].att_mat
        assert weights.shape == (1, 2, 16, 6) and torch.allclose(weights.sum(-1), torch.ones(1, 2, 16))
        maps = word_maps(layer[names[0]], [[[1, 2]]], (8, 8))
    assert torch.allclose(maps[0, ::2, ::2].flatten(), weights[0].mean(0)[:, 1:3].mean(1))
    assert torch.equal(maps[0, ::2], maps[0, 1::2])
    assert not layer[names[0]].save_attn


@pytest.mark.parametrize("layers", ["up_blocks.7", [], ["down_blocks.1", "nowhere"]])
def test_a_layer_that_is_not_there_is_refused_with_the_known_ones(layers):
    with pytest.raises(UserError, match="no cross-attention"):
        chosen_layers(small_network().denoiser, layers)


def test_a_map_depends_neither_on_its_batch_nor_on_what_ran_before():
    network, inferer = small_network(), GroundingInferer(timesteps=(1, 41))
    latents = torch.randn(3, 4, 8, 8)
    maps = inferer.attention(latents, ["nodule", "left effusion", "left"], network)
    torch.rand(5)
    alone = inferer.attention(latents[1:2], ["left effusion"], network)
    assert torch.allclose(maps[1], alone[0], atol=1e-6) and float(maps.min()) > 0
    other = GroundingInferer(timesteps=(1, 41), seed=1).attention(latents[1:2], ["left effusion"], network)
    assert not torch.allclose(other, alone)


def test_noise_levels_have_to_be_those_of_the_schedule():
    with pytest.raises(UserError, match="timesteps"):
        GroundingInferer(timesteps=())
    with pytest.raises(UserError, match="100"):
        GroundingInferer(timesteps=(1, 100)).attention(torch.zeros(1, 4, 8, 8), ["left"], small_network())


def test_a_word_that_the_network_ties_to_a_place_is_grounded_there():
    """With keys that answer to one channel of the latent the map of a word is that channel, whatever the noise."""
    network = small_network()

    class Tied(torch.nn.Module):
        """A denoiser of one attention layer whose score for a word is the latent's first channel."""

        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Module()
            self.layer.attn2 = next(iter(attention_layers(network.denoiser).values()))

        def forward(self, x, t, context):
            layer = self.layer.attn2
            score = x[:, 0].flatten(1)[:, None, :, None] * torch.tensor([0.0, 1.0, 0, 0, 0, 0])
            layer.att_mat = score.expand(-1, 2, -1, -1).softmax(-1)
            return x

    network.denoiser = Tied()
    latents = torch.zeros(1, 4, 8, 8)
    latents[0, 0, 2:4, 5:7] = 6.0
    heat = GroundingInferer(timesteps=range(1, 30, 4)).attention(latents, ["nodule"], network)[0].numpy()
    truth = np.zeros((8, 8), bool)
    truth[2:4, 5:7] = True
    assert hits(heat, truth) and roc_auc_score(truth.ravel(), heat.ravel()) > 0.95
    x, y, w, h = box_of(masks_of(torch.from_numpy(heat)[None], (32, 32))[0, 0].numpy() > 0)
    assert x <= 21 and y <= 9 and x + w >= 26 and y + h >= 14 and w * h < 200, "the square is x 20 to 28, y 8 to 16"


# --- text to image ----------------------------------------------------------------------------------------------------


def test_noise_and_a_prompt_become_a_radiograph_and_guidance_changes_it():
    network, noise = small_network(), torch.randn(2, 4, 8, 8)
    plain = TextToImageInferer(3, 1.0)(noise, network, ["nodule", ""])
    assert plain.shape == (2, 1, 32, 32) and 0 <= float(plain.min()) <= float(plain.max()) <= 1
    strong = TextToImageInferer(3, 4.0)(noise, network, ["nodule", ""])
    assert not torch.allclose(plain[0], strong[0]) and torch.allclose(plain[1], strong[1], atol=1e-4)
    assert network(noise).shape == (2, 1, 32, 32)


def test_guidance_is_measured_from_the_empty_prompt():
    network, x, t = small_network(), torch.randn(1, 4, 8, 8), torch.tensor([50])
    with torch.no_grad():
        context = network.context(["left nodule"])
        empty, own = (network.denoiser(x, t, context=c) for c in (network.context([""]), context))
        assert torch.allclose(network.guided(context, 3.0)(x, t), empty + 3 * (own - empty), atol=1e-4)


@pytest.mark.parametrize("learnable", [False, True])
def test_a_frozen_text_encoder_stays_and_a_learnable_one_learns(learnable):
    network = small_network(layers=1, learnable=learnable)
    before = {name: value.clone() for name, value in network.text.state_dict().items()}
    optimizer = torch.optim.SGD(trained_parameters(network), 0.1)
    batch = {"latents": torch.randn(4, 4, 8, 8), "tokens": network.tokenizer(["nodule", "left", "", "effusion"])}
    loss = TextDiffusionObjective()(network, batch)["loss"]
    assert math.isfinite(float(loss))
    loss.backward()
    optimizer.step()
    changed = [name for name, value in network.text.state_dict().items() if not torch.equal(value, before[name])]
    assert bool(changed) == learnable


def test_padding_says_nothing_and_a_variant_is_read_by_its_layers(tmp_path):
    network, other = small_network(), small_network(layers=2, learnable=True)
    tokens = network.tokenizer(["left", "left nodule"])
    assert float(network.text(tokens)[0, 2:].abs().max()) == 0
    save_weights(other, tmp_path / "model.pt")
    found = read_variant(network, tmp_path / "model.pt")
    assert len(found.text.layers) == 2 and torch.allclose(found.text(tokens), other.text(tokens), atol=1e-5)


# --- masks and scores -------------------------------------------------------------------------------------------------


def test_a_mask_is_cut_between_two_distributions_and_loses_single_pixels():
    rng = np.random.default_rng(0)
    heat = rng.normal(1.0, 0.05, (16, 16))
    heat[4:9, 6:12] += 2.0
    heat[13, 3] += 2.0
    assert 1.5 < mixture_threshold(heat) < 2.6
    mask = mixture_mask(heat)
    assert not mask[13, 3] and mask[5:8, 7:11].all()
    assert box_of(mask) == (6, 4, 6, 5)


@pytest.mark.parametrize("heat", [np.ones((8, 8)), np.full((8, 8), np.nan), np.zeros((8, 8))])
def test_an_even_or_broken_map_has_an_empty_mask(heat):
    assert mixture_threshold(heat) is None and not mixture_mask(heat).any() and box_of(mixture_mask(heat)) is None


def test_scores_are_those_of_their_definitions():
    truth = box_mask([(2, 1, 3, 2)], 8)
    assert truth.sum() == 6 and truth[1:3, 2:5].all()
    heat = np.zeros((8, 8))
    heat[1, 2] = heat[7, 7] = 1.0
    found = score(heat, heat > 0.5, truth)
    assert found["pointing"] == 1.0, "of equal values the first counts"
    assert found["auc"] == pytest.approx(roc_auc_score(truth.ravel(), heat.ravel()))
    inside, outside = heat[truth], heat[~truth]
    assert found["cnr"] == pytest.approx((inside.mean() - outside.mean()) / math.sqrt(inside.var() + outside.var()))
    assert found["iou"] == pytest.approx(1 / 7) and found["miou"] == pytest.approx((1 / 7 + 57 / 63) / 2)
    assert contrast(np.ones((8, 8)), truth) == 0.0
    assert overlap(truth, truth) == (1.0, 1.0)
    assert centre_distance(box_mask([(0, 0, 2, 2)], 8), box_mask([(3, 4, 2, 2)], 8)) == pytest.approx(5.0)
    assert math.isnan(centre_distance(np.zeros((8, 8), bool), truth))
    assert box_mask([(3.4, 3.4, 0.1, 0.1)], 8).sum() == 1
