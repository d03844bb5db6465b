"""The shipped bundle from end to end: a word to masks on a photograph's own pixels, bad input to one sentence."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest
import torch
from bundle_runs import ROOT
from PIL import Image

from synthzoo.bundle.compose import load_config, run_bundle
from synthzoo.errors import find_user_error
from synthzoo.phantoms.scenes.pool import SPLITS
from synthzoo.phantoms.scenes.scene import CLASSES, make_scene

BUNDLE = ROOT / "bundles" / "scenes_rgb_segmentation_concept"
FEW = {"timesteps": [41, 241], "steps": 4}
UNSEEN = SPLITS["test"][0] + 5000  # seeds beyond those of the evaluation


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Folder and scenes, one object of a class each, as photographs of two sizes that are no squares."""
    folder, found = tmp_path_factory.mktemp("photographs"), {}
    for number, kind in enumerate(CLASSES):
        scene = make_scene(UNSEEN + number, 192, 1, (kind,))
        pixels = np.rint(255 * scene.image.transpose(1, 2, 0)).astype(np.uint8)
        rows = slice(24, 168) if number % 2 else slice(0, 192)
        Image.fromarray(pixels[rows]).save(folder / f"{kind}.png")
        found[kind] = scene.mask(kind)[rows]
    return folder, found


def picture(path) -> np.ndarray:
    with Image.open(path) as opened:
        return np.asarray(opened)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / max((one | other).sum(), 1))


def refused(**overrides) -> str:
    """The one sentence with which a run ends."""
    with pytest.raises(Exception) as caught:
        run_bundle(BUNDLE, overrides=overrides)
    sentence = str(find_user_error(caught.value))
    assert sentence != "None" and "\n" not in sentence, caught.value
    return sentence


def test_the_segmenter_finds_each_class_in_unseen_scenes_though_no_mask_was_given_to_it(scenes, tmp_path):
    folder, truths = scenes
    found = {}
    for kind, truth in truths.items():
        out = tmp_path / kind
        run_bundle(BUNDLE, overrides={"images": str(folder), "concept": kind, "output_dir": str(out)})
        record = json.loads((out / kind / f"{kind}_heatmap.json").read_text(encoding="utf-8"))
        assert record["settings"]["concept"] == kind and record["settings"]["stage"] == "trained"
        assert record["labels"] == {"1": kind} and record["separation"] is None
        masks = {other: picture(out / other / f"{other}_dseg.png") > 0 for other in truths}
        assert masks[kind].shape == truth.shape
        found[kind] = (overlap(masks[kind], truth), float(np.mean([masks[o].mean() for o in truths if o != kind])))
    print(found)
    own, others = np.mean(list(found.values()), 0)
    assert own > 0.35 and others < 0.05, found


def test_a_removal_gives_the_photograph_without_the_object_and_keeps_the_rest(scenes, tmp_path):
    folder, truths = scenes
    run = {"images": str(folder / "car.png"), "concept": "car", "stage": "refined", "steps": 4}
    run_bundle(BUNDLE, overrides={**run, "output_dir": str(tmp_path)})
    case = tmp_path / "car"
    record = json.loads((case / "car_heatmap.json").read_text(encoding="utf-8"))
    before, after = (picture(path).astype(float) for path in (folder / "car.png", case / "car_background.png"))
    change = np.abs(after - before).mean(-1)
    mask = picture(case / "car_dseg.png") > 0
    assert record["settings"]["stage"] == "refined" and record["separation"] > 0 and before.shape == after.shape
    assert change[mask].mean() > 2 * change[~truths["car"] & ~mask].mean(), "the object goes, the place stays"
    heat = picture(case / "car_heatmap.png") / 65535
    assert heat[truths["car"]].mean() > heat[~truths["car"]].mean() + 0.1


def test_a_folder_becomes_masks_and_one_coco_file_and_a_second_run_does_what_is_left(scenes, tmp_path):
    folder, _ = scenes
    run = {"concept": "trees", "stage": "weak", "output_dir": str(tmp_path), **FEW}
    run_bundle(BUNDLE, overrides={**run, "images": str(folder / "dog.png")})
    stamp = (tmp_path / "dog" / "dog_dseg.png").stat().st_mtime_ns
    run_bundle(BUNDLE, overrides={**run, "images": str(folder)})
    assert (tmp_path / "dog" / "dog_dseg.png").stat().st_mtime_ns == stamp
    written = json.loads((tmp_path / "coco.json").read_text(encoding="utf-8"))
    assert {one["file_name"] for one in written["images"]} == {f"{kind}.png" for kind in CLASSES}
    assert written["categories"] == [{"id": 1, "name": "trees"}]
    assert "another request" in refused(**{**run, "images": str(folder / "dog.png"), "stage": "refined"})


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"concept": "dgo"}, "does not know the word 'dgo'; near ones are dog"),
        ({"concept": ""}, "concept is empty, but must name what is sought, such as 'dog'"),
        ({"concept": "trees", "stage": "trained"}, "trained on person, dog, car, bird"),
        ({"stage": "best"}, "auto, trained, refined, weak"),
        ({"layers": ["up_blocks.7"], "stage": "weak"}, "no cross-attention"),
        ({"timesteps": [1000], "stage": "weak"}, "timesteps"),
        ({"steps": 900, "stage": "refined"}, "1 to 500 steps"),
    ],
)
def test_a_bad_word_or_setting_is_one_sentence_and_writes_nothing(tmp_path, settings, said):
    assert said in refused(images="example", output_dir=str(tmp_path), **settings)
    assert not list(tmp_path.rglob("*_dseg.png"))


@pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("diffusers", "transformers")), reason="needs synthzoo[text]"
)
def test_the_published_scale_masks_any_word_by_a_local_folder_of_stable_diffusion(scenes, tmp_path):
    from released_model import save_model

    folder, _ = scenes
    save_model(tmp_path / "stable-diffusion-v1-4", linear=False)
    run = {"folder": str(tmp_path / "stable-diffusion-v1-4"), "image_size": 32, "concept": "hummingbird", **FEW}
    for images in (folder / "dog.png", folder):
        overrides = {**run, "images": str(images), "output_dir": str(tmp_path / "out")}
        run_bundle(BUNDLE, ["paper"], overrides)
    written = json.loads((tmp_path / "out" / "coco.json").read_text(encoding="utf-8"))
    assert len(written["images"]) == len(CLASSES)
    for kind in CLASSES:
        case = tmp_path / "out" / kind
        record = json.loads((case / f"{kind}_heatmap.json").read_text(encoding="utf-8"))
        assert record["settings"]["stage"] == "refined" and len(record["weights_sha256"]) == 64
        sizes = {picture(case / f"{kind}_{name}.png").shape[:2] for name in ("heatmap", "dseg", "background")}
        assert sizes == {picture(folder / f"{kind}.png").shape[:2]}


def test_the_published_scale_has_its_segmenter_and_its_recipe():
    removal = load_config(BUNDLE, ["train_autoencoder", "train_diffusion", "train_removal", "paper", "paper_removal"])
    segmenter = load_config(BUNDLE, ["train_autoencoder", "train_segmenter", "paper", "paper_tuned", "paper_segmenter"])
    assert removal["learning_rate"] == 1e-4 and removal["train#trainer#schedule"] is None
    assert removal["network"] == "$@network_def.to(@device)" and segmenter["train#objective#dice"] == 0
    assert segmenter["max_epochs"] * segmenter["epoch_length"] == 12_000
    network = load_config(BUNDLE).get_parsed_content("network_def")
    assert sum(value.numel() for value in network.parameters()) < 4_000_000
    assert network(torch.rand(1, 3, 96, 96)).shape == (1, 4, 96, 96)
