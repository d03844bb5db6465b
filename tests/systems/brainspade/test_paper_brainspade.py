"""The published scale of brain_mr_synthesis_spade: parameter counts on the meta device, a real step of each stage."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from synthzoo.bundle.compose import load_config

BUNDLE = Path(__file__).parents[3] / "bundles" / "brain_mr_synthesis_spade"
ROWS = {
    "labels_autoencoder": "$[{'labels': torch.rand(9, *@image_size).softmax(0)}]",
    "labels_diffusion": "$[{'latents': torch.randn(@latent_shape), 'conditions': torch.ones(3)}]",
    "images": "$[{'labels': torch.rand(9, *@image_size).softmax(0), "
    "**{name: torch.rand(1, *@image_size) for name in ('image', 'style', 'other_style')}}]",
}
PARTS = {"labels_autoencoder": "autoencoder", "labels_diffusion": "denoiser", "images": "painter"}


@pytest.mark.parametrize("part, millions", [("autoencoder", 12.3), ("denoiser", 556.0), ("painter", 4.1)])
def test_a_part_has_the_published_number_of_parameters(part, millions):
    with torch.device("meta"):
        network = load_config(BUNDLE, ["paper"]).get_parsed_content("network_def")
    count = sum(parameter.numel() for parameter in getattr(network, part).parameters()) / 1e6
    assert count == pytest.approx(millions, rel=0.05 if part == "painter" else 0.005)


@pytest.mark.slow
@pytest.mark.parametrize("stage", PARTS)
def test_a_real_step_of_a_stage_moves_its_part(stage):
    overrides = {
        "network": "$@network_def.to(@device)",
        "batch_size": 1,
        "epoch_length": 1,
        "max_epochs": 1,
        "data_format": "published",
        "train#trainer#progress": False,
        "train#dataset": ROWS[stage],
        **dict.fromkeys(("checkpoint_dir", "save_to", "log_dir")),
    }
    config = load_config(BUNDLE, ["paper", f"train_{stage}", f"paper_{stage}"], overrides)
    trainer = config.get_parsed_content("train#trainer")
    part = getattr(trainer.network, PARTS[stage])
    before = next(part.parameters()).detach().clone()
    trainer.run()
    assert not torch.equal(before, next(part.parameters()))
    assert all(math.isfinite(value) for value in trainer.state.output.values())
