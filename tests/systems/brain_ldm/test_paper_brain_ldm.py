"""The published scale of brain_mr_synthesis_ldm: the paper's parameter counts, on the meta device."""

from pathlib import Path

import pytest
import torch

from synthzoo.bundle.compose import load_config
from synthzoo.systems.brain_ldm.network import LatentDiffusion

BUNDLE = Path(__file__).parents[3] / "bundles" / "brain_mr_synthesis_ldm"


def count(module) -> float:
    """Millions of parameters."""
    return sum(parameter.numel() for parameter in module.parameters()) / 1e6


@pytest.fixture(scope="module")
def network():
    with torch.device("meta"):
        return load_config(BUNDLE, ["paper"]).get_parsed_content("network_def")


def test_the_autoencoder_has_13_8_million_parameters(network):
    assert isinstance(network, LatentDiffusion)
    assert count(network.autoencoder) == pytest.approx(13.8, abs=0.05)


def test_the_denoiser_has_553_2_million_parameters(network):
    assert count(network.denoiser) == pytest.approx(553.2, abs=0.05)


def test_the_recipe_is_the_released_one():
    config = load_config(BUNDLE, ["paper"])
    assert (config["sampler"], config["steps"]) == ("ddim", 50)
    assert config["network_def"]["schedule"]["prediction"] == "epsilon"
