"""The shipped bundle from end to end: a phrase to a map, a sentence to a radiograph, bad input to one sentence."""

from __future__ import annotations

import json

import numpy as np
import pydicom
import pytest
from bundle_runs import ROOT
from PIL import Image

from synthzoo.bundle.compose import load_config, run_bundle
from synthzoo.errors import find_user_error

BUNDLE = ROOT / "bundles" / "chest_xr_grounding_text2image"
TABLE = "MS_CXR_Local_Alignment_v1.0.0.csv"
HEADER = "category_name,label_text,x,y,w,h,image_width,image_height,dicom_id,path"
FEW = {"timesteps": [41, 161]}


def refused(overlays=(), wanted=None, **overrides) -> str:
    """The one sentence with which a run, or a part of a config, ends."""
    with pytest.raises(Exception) as caught:
        if wanted is None:
            run_bundle(BUNDLE, overrides=overrides)
        else:
            load_config(BUNDLE, list(overlays), overrides).get_parsed_content(wanted)
    sentence = str(find_user_error(caught.value))
    assert sentence != "None" and "\n" not in sentence, caught.value
    return sentence


def test_each_phrase_has_a_map_a_mask_and_a_box_of_its_own(tmp_path):
    heats = []
    for phrase, words in {"Consolidation in the right lung.": ["consolidation"], "pleural effusion": None}.items():
        folder = tmp_path / phrase[:5].strip()
        run_bundle(BUNDLE, overrides={"images": "example", "prompt": phrase, "output_dir": str(folder), **FEW})
        (path,) = folder.glob("*/*_heatmap.png")
        record = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        heats.append(np.asarray(Image.open(path)) / 65535)
        mask = np.asarray(Image.open(path.with_name(path.name.replace("heatmap", "dseg"))))
        assert record["words"] == (words or ["pleural", "effusion"]) and record["settings"]["layers"]
        assert mask.shape == heats[-1].shape and set(np.unique(mask)) <= {0, 1}
        for box in record["boxes"]:
            rows, columns = slice(box["y"], box["y"] + box["h"]), slice(box["x"], box["x"] + box["w"])
            assert mask[rows, columns].sum() == mask.sum() > 0
    assert heats[0].shape == heats[1].shape and np.abs(heats[0] - heats[1]).mean() > 0.01


def test_a_sentence_becomes_radiographs_that_depend_on_it_and_on_the_seed(tmp_path):
    run = {"num_samples": 2, "steps": 3, "seed": 5}
    made = {}
    for name, prompt in (("fluid", "Large right pleural effusion. No pneumothorax."), ("empty", "")):
        run_bundle(BUNDLE, overrides={**run, "prompt": prompt, "output_dir": str(tmp_path / name)})
        for path in sorted((tmp_path / name).glob("*/*_cxr.png")):
            made[name, path.parent.name] = np.asarray(Image.open(path)) / 65535
    assert len(made) == 4 and all(image.shape == (128, 128) for image in made.values())
    images = list(made.values())
    assert all(np.abs(images[a] - images[b]).mean() > 0.005 for a in range(4) for b in range(a))
    record = json.loads(next((tmp_path / "fluid").glob("*/*_cxr.json")).read_text(encoding="utf-8"))
    assert record["Synthetic"] and record["sampler"]["prompt"] == "large right pleural effusion"


def test_a_generated_radiograph_is_a_dx_object(tmp_path):
    run_bundle(BUNDLE, overrides={"steps": 2, "output_format": "dicom", "output_dir": str(tmp_path)})
    (path,) = tmp_path.rglob("*.dcm")
    written = pydicom.dcmread(path)
    assert written.Modality == "DX" and (written.Rows, written.Columns) == (128, 128)
    assert "synthetic" in str(written).lower()


@pytest.mark.parametrize(
    "prompt, said",
    [
        ("", "prompt is empty"),
        ("noduel in the left lung", "does not know the word 'noduel'; near ones are nodul"),
        ("xyzzy", "does not know the word 'xyzzy'"),
        ("nodule " * 32, "a text of at most 200 characters|has 32 words, but may have 31"),
        ("a " * 40, "has 40 words, but may have 31"),
        ("There is no pleural effusion.", "only says what is not there"),
        (7, "prompt"),
    ],
)
def test_a_bad_prompt_is_one_sentence_and_writes_nothing(tmp_path, prompt, said):
    sentence = refused(images="example", prompt=prompt, output_dir=str(tmp_path / "out"))
    assert any(part in sentence for part in said.split("|")), sentence
    assert not list((tmp_path / "out").rglob("*.png"))


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"layers": ["up_blocks.9"]}, "no cross-attention"),
        ({"timesteps": [1000]}, "timesteps"),
        ({"timesteps": []}, "timesteps"),
    ],
)
def test_a_setting_out_of_range_is_one_sentence(tmp_path, settings, said):
    assert said in refused(images="example", output_dir=str(tmp_path), **settings)


@pytest.mark.parametrize(
    "line, said",
    [
        ("Edema,pulmonary edema,100,90,60,40,128,128,a,{}", "line 2"),  # a box beyond the image
        ("Edema,pulmonary edema,10,wide,20,20,128,128,a,{}", "line 2"),
        ("Edema,,10,10,20,20,128,128,a,{}", "line 2"),
        ("Edema,pulmonary edema,10,10,20,20,128,128", "line 2"),
    ],
)
def test_a_table_of_phrases_is_refused_by_its_line(tmp_path, line, said):
    path = "files/p10/p10000032/s50414267/a.jpg"
    (tmp_path / path).parent.mkdir(parents=True)
    levels = np.tile(np.linspace(0, 255, 128), (128, 1)).astype(np.uint8)
    Image.fromarray(levels).save(tmp_path / path)
    (tmp_path / TABLE).write_text(f"{HEADER}\n{line.format(path)}\n")
    found = {"dataset_dir": str(tmp_path), "data_format": "mscxr"}
    assert said in refused(["evaluate"], "evaluation#phrases", **found)


def test_a_folder_without_its_format_and_the_other_way_round_are_told(tmp_path):
    assert "data_format" in refused(["evaluate"], "evaluation#phrases", dataset_dir=str(tmp_path))
    assert "dataset_dir" in refused(["evaluate"], "evaluation#phrases", data_format="mscxr")
