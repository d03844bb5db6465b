"""The published scale of chest_xr_grounding_text2image: numbers of parameters, the recipe, and one step of training."""

import importlib.util
import math
import resource
import time
from pathlib import Path

import pytest
import torch

from synthzoo.bundle.compose import load_config
from synthzoo.networks.cross_attention import attention_layers

BUNDLE = Path(__file__).parents[3] / "bundles" / "chest_xr_grounding_text2image"
INSTALLED = all(importlib.util.find_spec(name) for name in ("diffusers", "transformers"))
pytestmark = pytest.mark.skipif(not INSTALLED, reason="needs diffusers and transformers: synthzoo[text]")
GIB = 2**20  # of the kibibytes that Linux counts in


@pytest.fixture(scope="module")
def network():
    with torch.device("meta"):
        return load_config(BUNDLE, ["paper"]).get_parsed_content("network_def")


@pytest.mark.parametrize(
    "part, parameters",
    [("denoiser", 865_910_724), ("autoencoder", 83_653_863), ("text", 340_387_840)],
)
def test_numbers_of_parameters_are_those_of_stable_diffusion_2(network, part, parameters):
    assert sum(p.numel() for p in getattr(network, part).parameters()) == parameters


def test_sixteen_layers_of_cross_attention_are_read(network):
    assert len(attention_layers(network.denoiser)) == 16
    assert network.latent_shape == (4, 64, 64)


def test_the_recipe_is_the_published_one(network):
    config = load_config(BUNDLE, ["train_diffusion", "paper", "paper_diffusion"])
    assert config["learning_rate"] == 5e-5 and config["batch_size"] == 16
    assert config["max_epochs"] * config["epoch_length"] == 30_000
    assert config["train"]["trainer"]["schedule"] is None and config["train"]["trainer"]["warmup"] == 0
    schedule = config.get_parsed_content("network_def#schedule")  # the network's own has no numbers on the meta device
    assert (schedule.num_steps, schedule.prediction) == (1000, "epsilon")
    assert float(schedule.alpha[0]) == pytest.approx((1 - 0.00085) ** 0.5)
    assert not any(p.requires_grad for p in network.text.parameters())


@pytest.mark.slow
def test_one_step_of_training_at_full_size(capsys):
    """All three networks whole, weights in half precision, latents of 8 x 8, batch 1: 8.5 GiB in all."""
    row = "{'latents': torch.randn(4, 8, 8), 'tokens': torch.arange(77)}"
    overrides = {
        "network": "$@network_def.to(torch.bfloat16)",
        "latent_shape": [4, 8, 8],
        "batch_size": 1,
        "epoch_length": 1,
        "max_epochs": 1,
        "device": "cpu",
        "init_from": None,
        "train#dataset": f"$[{row}]",
        "train#trainer#amp": True,
        "train#trainer#ema_decay": None,
        "train#trainer#progress": False,
        **dict.fromkeys(("checkpoint_dir", "save_to", "log_dir")),
    }
    config = load_config(BUNDLE, ["train_diffusion", "paper", "paper_diffusion"], overrides)
    began = time.process_time()
    trainer = config.get_parsed_content("train#trainer")
    built = time.process_time()
    denoiser, text = trainer.network.denoiser, trainer.network.text
    last, frozen = denoiser.out[2].conv, next(text.parameters()).detach().clone()
    torch.nn.init.normal_(last.weight, 0.0, 0.02)  # an untrained U-Net ends in zeros, which pass no gradient on
    assert not last.bias.any()
    trainer.run()
    stepped = time.process_time()
    loss = float(trainer.state.output["loss"])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / GIB
    with capsys.disabled():
        print(f"built in {built - began:.0f} s, one step {stepped - built:.0f} s, peak {peak:.1f} GiB, loss {loss:.3f}")
    assert math.isfinite(loss)
    assert torch.allclose(last.bias.abs().float(), torch.tensor(5e-5), rtol=0.01)  # the first step of Adam is its rate
    assert torch.equal(frozen, next(text.parameters())) and all(p.grad is None for p in text.parameters())
    gradients = {name: p.grad for name, p in denoiser.named_parameters()}
    assert all(grad is not None and bool(torch.isfinite(grad).all()) for grad in gradients.values())
    assert bool(gradients["conv_in.conv.weight"].any())
