"""Grounding scored on a folder of real layout: the truth itself scores best, its neighbour's map does not."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from synthzoo.datasets.chest.grounding import GroundingRadiographs, grounding_rows
from synthzoo.systems.chest_distillation.phrases import COLUMNS, phrase_scores, phrase_table

HEADER = "category_name,label_text,x,y,w,h,image_width,image_height,dicom_id,path"


class Bright:
    """In place of an attention map the radiograph itself, in the size of the latents."""

    def attention(self, latents, prompts, network, sought):
        assert len(latents) == len(prompts) == len(sought)
        return latents[:, 0]


class Network:
    def encode(self, images):
        return torch.nn.functional.avg_pool2d(images, 4)


@pytest.fixture
def rows(tmp_path):
    """Two radiographs, each bright in one box of its own; the first has a second phrase."""
    lines, folder = [], tmp_path / "files" / "p10" / "p10000032" / "s50414267"
    folder.mkdir(parents=True)
    for name, (x, y) in {"a": (10, 20), "b": (70, 60)}.items():
        levels = np.tile(np.linspace(0, 90, 128), (128, 1))
        levels[y : y + 40, x : x + 40] = 250
        Image.fromarray(levels.astype(np.uint8)).save(folder / f"{name}.jpg", quality=95)
        path = f"files/p10/p10000032/s50414267/{name}.jpg"
        lines.append(f"Edema,pulmonary edema {name},{x},{y},40,40,128,128,{name},{path}")
    lines.append(f"Pneumonia,pneumonia,0,0,30,30,128,128,a,{lines[0].rpartition(',')[2]}")
    lines.append(f"Pneumonia,pneumonia,90,90,30,30,128,128,a,{lines[0].rpartition(',')[2]}")
    (tmp_path / "MS_CXR_Local_Alignment_v1.0.0.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    return GroundingRadiographs(grounding_rows(tmp_path, "mscxr", size=128), size=128, intensity="none")


def test_each_phrase_is_scored_against_its_own_boxes(rows):
    found = phrase_scores(Network(), Bright(), rows, batch=2)
    by = {(rows.rows[n]["case"], one["finding"]): one for n, one in enumerate(found)}
    for case in "ab":
        edema = by[case, "Edema"]
        assert edema["pointing"] == 1 and edema["auc"] > 0.99 and edema["miou"] > 0.85 and edema["distance"] < 4
        assert edema["control"] == 0 and edema["area"] == pytest.approx((40 / 128) ** 2)
    pneumonia = by["a", "Pneumonia"]
    assert math.isnan(pneumonia["distance"]) and math.isnan(pneumonia["control"]) and pneumonia["area"] < 0.12
    table = phrase_table(found)
    assert [row[:2] for row in table] == [["Edema", 2], ["Pneumonia", 1], ["all", 3]]
    assert all(len(row) == len(COLUMNS) for row in table) and table[0][3] == 1.0
