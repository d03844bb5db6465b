"""The published scale of the autoregressive brain generator: the paper's sizes, and one real training step."""

import math
from pathlib import Path

import pytest
import torch

from synthzoo.bundle.compose import load_config

BUNDLE = Path(__file__).parents[3] / "bundles" / "brain_mr_synthesis_autoregressive"
pytestmark = pytest.mark.skipif(not BUNDLE.is_dir(), reason="the bundle is not in this checkout yet")


def count(module) -> float:
    """Millions of parameters."""
    return sum(parameter.numel() for parameter in module.parameters()) / 1e6


@pytest.fixture(scope="module")
def network():
    with torch.device("meta"):
        return load_config(BUNDLE, ["paper"]).get_parsed_content("network_def")


def test_the_networks_have_the_papers_size_and_grid(network):
    assert count(network.autoencoder) == pytest.approx(46.1, abs=0.05)
    cross = sum(count(part) for block in network.transformer.blocks for part in (block.cross_attn,))
    assert count(network.transformer) - cross == pytest.approx(78.5, abs=0.05), "conditions come on top"
    assert cross == pytest.approx(25.2, abs=0.05)
    assert len(network.order) == network.transformer.max_seq_len == 1400
    assert network.autoencoder.num_embeddings == 2048 and network.transformer.begin == 2048


def test_the_order_is_the_papers():
    order = load_config(BUNDLE, ["paper"])["network_def"]["ordering"]
    assert order["rot90_axes"] == [[0, 1]] and order["transpositions_axes"] == [[2, 0, 1]]
    assert order["transformation_order"] == ["rotate_90", "transpose"]


def test_the_released_vqvaes_have_the_small_kernel():
    with torch.device("meta"):
        network = load_config(BUNDLE, ["paper", "paper_released"]).get_parsed_content("network_def")
    assert count(network.autoencoder) < 35


OFF = dict.fromkeys(("checkpoint_dir", "save_to", "log_dir"))
SHORT = {"network": "$@network_def.to(@device)", "batch_size": 1, "epoch_length": 1, "max_epochs": 1, "amp": False}
SHORT |= {"train#trainer#progress": False, **OFF}
STAGES = {
    "vqvae": {
        "image_shape": [1, 64, 64, 64],
        "train#dataset": "$[{'image': torch.rand(@image_shape)}]",
        "train#objective#perceptual": None,
        "network_def#token_shape": [4, 4, 4],
        "critic_from": 0,
    },
    "transformer": {"train#dataset": [{"tokens": "$torch.randint(0, 2048, (1400,))", "conditions": "$torch.rand(4)"}]},
}


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_one_real_training_step_at_this_width(stage):
    overrides = {**SHORT, **STAGES[stage]}
    overrides = {key: value for key, value in overrides.items() if stage == "vqvae" or key != "amp"}
    trainer = load_config(BUNDLE, ["paper", f"train_{stage}", f"paper_{stage}"], overrides).get_parsed_content(
        "train#trainer"
    )
    part = trainer.network.autoencoder.encoder if stage == "vqvae" else trainer.network.transformer
    before = next(part.parameters()).detach().clone()
    trainer.run()
    assert not torch.equal(before, next(part.parameters()))
    assert all(math.isfinite(value) for value in trainer.state.output.values())
