"""A run with radiographs, which gives maps, masks and boxes, and one without, which gives radiographs."""

import json

import numpy as np
import pytest
import torch
from monai.data import decollate_batch, list_data_collate
from PIL import Image
from small_text_model import small_network

from synthzoo.cases.examples import write_example
from synthzoo.errors import UserError
from synthzoo.inferers.text_to_image import TextToImageInferer
from synthzoo.systems.chest_distillation.cases import (
    PlaceResult,
    PromptInferer,
    ReadRadiographd,
    SavePrompted,
    prompted_table,
)
from synthzoo.systems.chest_distillation.inferer import GroundingInferer

READ = ReadRadiographd(32)


@pytest.fixture(scope="module")
def radiograph(tmp_path_factory):
    return write_example("chest_radiograph", tmp_path_factory.mktemp("example"))


def run(images, prompt, folder, **settings):
    """Every case of a table through network and files; gives the table."""
    network = small_network()
    shared = {"latent_shape": (4, 8, 8), "loader": READ, "output_dir": str(folder), "bundle": "text"}
    table = prompted_table(images, prompt, network.tokenizer, **shared, **settings)
    inferer = PromptInferer(prompt, GroundingInferer(timesteps=(1, 41)), TextToImageInferer(2, 2.0))
    place, save = PlaceResult(prompt), SavePrompted(table, sidecar_keys=["words", "boxes", "regions"] if images else [])
    for row in range(len(table)):
        batch = list_data_collate([READ(table[row])])
        batch["pred"] = inferer(batch["image"], network)
        for sample in decollate_batch(batch):
            save(place(sample))
    return table


def test_a_radiograph_gets_a_map_a_mask_and_a_box_on_its_own_grid(radiograph, tmp_path):
    table = run(str(radiograph), "left nodule", tmp_path)
    (case,) = table.cases
    record = json.loads(table.sidecar(case).read_text(encoding="utf-8"))
    assert record["words"] == ["nodule"] and record["settings"]["prompt"] == "left nodule"
    size = Image.open(radiograph).size
    with Image.open(table.path(case)) as heat, Image.open(table.path(case, "dseg.png")) as mask:
        assert heat.size == mask.size == size and heat.mode == "I;16"
        box, mask = mask.getbbox(), mask.copy()
    x, y, w, h = (record["boxes"][0][key] for key in "xywh")
    assert (x, y, x + w, y + h) == box
    (region,) = record["regions"]
    assert region["label"] == 1 and region["box"] == [x, y, w, h] and region["mean"] <= region["peak"] <= 1
    assert region["area_share"] == pytest.approx((np.asarray(mask) > 0).mean(), abs=1e-4)


def test_without_a_radiograph_or_when_it_is_said_radiographs_are_generated(radiograph, tmp_path):
    table = run("", "effusion", tmp_path / "none", num_samples=2, seed=3)
    assert table.cases == ["sub-0001", "sub-0002"]
    with Image.open(table.path("sub-0001")) as picture:
        assert picture.size == (32, 32) and picture.mode == "I;16"
    record = json.loads(table.sidecar("sub-0002").read_text(encoding="utf-8"))
    assert record["Synthetic"] and record["seed"] == 4 and record["sampler"]["prompt"] == "effusion"
    assert run(str(radiograph), "", tmp_path / "said", generate=True).cases == ["sub-0001"]


def test_the_prompt_is_checked_before_a_file_is_read(tmp_path):
    for images, prompt in (("nowhere.png", "noduel"), ("nowhere.png", ""), ("", "noduel")):
        with pytest.raises(UserError, match="prompt"):
            prompted_table(images, prompt, small_network().tokenizer, output_dir=str(tmp_path))


def test_noise_passes_the_reader_as_it_is():
    noise = torch.randn(4, 8, 8)
    assert READ({"image": noise})["image"] is noise
