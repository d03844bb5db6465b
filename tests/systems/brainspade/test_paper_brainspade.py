"""The published scale of brain_mr_synthesis_spade: parameter counts on the meta device, a real step of each stage."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from paper_stages import move_by_one_step

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
    move_by_one_step(BUNDLE, stage, PARTS[stage], ROWS[stage])
