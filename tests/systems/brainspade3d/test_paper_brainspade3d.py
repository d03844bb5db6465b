"""The published scale of brain_mr_synthesis_spade3d: parameter counts on the meta device, a real step of a stage."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from paper_stages import move_by_one_step

from synthzoo.bundle.compose import load_config

BUNDLE = Path(__file__).parents[3] / "bundles" / "brain_mr_synthesis_spade3d"
SMALL = {"image_size": [32, 32, 32], "latent_shape": [3, 8, 8, 8]}
IMAGES = "{name: torch.rand(1, *@image_size) for name in ('image',)}"
STYLES = "{name: torch.rand(1, 192, 192) for name in ('style', 'other_style')}"
ROWS = {
    "labels_autoencoder": "$[{'labels': torch.rand(10, *@image_size).softmax(0)}]",
    "labels_diffusion": "$[{'latents': torch.randn(@latent_shape), 'conditions': torch.ones(4)}]",
    "images": f"$[{{'labels': torch.rand(10, *@image_size).softmax(0), **{IMAGES}, **{STYLES}}}]",
}
PARTS = {"labels_autoencoder": "autoencoder", "labels_diffusion": "denoiser", "images": "painter"}


@pytest.mark.parametrize("part, millions", [("autoencoder", 2.25), ("denoiser", 52.2)])
def test_a_part_has_the_number_of_parameters_of_the_authors_config(part, millions):
    with torch.device("meta"):
        network = load_config(BUNDLE, ["paper"]).get_parsed_content("network_def")
    count = sum(parameter.numel() for parameter in getattr(network, part).parameters()) / 1e6
    assert count == pytest.approx(millions, rel=0.005)


@pytest.mark.slow
@pytest.mark.parametrize("stage", list(PARTS)[:2])
def test_a_real_step_of_a_stage_moves_its_part(stage):
    move_by_one_step(BUNDLE, stage, PARTS[stage], ROWS[stage], ["train_labels_autoencoder"], **SMALL)
