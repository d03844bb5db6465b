"""A bundle of radiographs from nothing to a map on a radiograph of a hospital's size, as PNG and as DICOM."""

import json

import numpy as np
import pytest
import torch
from dicom_files import dicom
from PIL import Image
from pydicom.uid import JPEG2000Lossless
from scipy.ndimage import zoom

from synthzoo.bundle.compose import load_config, run_bundle
from synthzoo.bundle.inspect.judge import inspect_bundle
from synthzoo.bundle.new import new_bundle
from synthzoo.errors import UserError, find_user_error
from synthzoo.io.marks import read_mark
from synthzoo.phantoms.chest.phantom import chest_study

HEIGHT, WIDTH = 2500, 2048
_MOVES = np.array([(0, 1), (1, 0), (0, -1), (-1, 0)])


def slope_about_half():
    """Logits of a pixel that is brighter than 0.5: a map whose truth is known."""
    network = torch.nn.Conv2d(1, 1, 1)
    network.load_state_dict({"weight": torch.full((1, 1, 1, 1), 20.0), "bias": torch.tensor([-10.0])})
    return network


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return new_bundle("chest_xr_anomaly_map_skeleton", "anomaly_map", tmp_path_factory.mktemp("xr"))


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A radiograph of 2500 x 2048 pixels, uint16, with 12 bits."""
    image = np.clip(zoom(chest_study(3, findings=[], size=128).image, (HEIGHT / 128, WIDTH / 128), order=1), 0, 1)
    return np.round(image * 4095).astype(np.uint16)


def test_it_trains_on_phantoms_and_passes_the_inspection(bundle, tmp_path):
    overrides = {"max_epochs": 1, "epoch_length": 1, "train_size": 8, "save_to": str(bundle / "models" / "model.pt")}
    run_bundle(bundle, "train", overrides | {"checkpoint_dir": str(tmp_path)})
    assert inspect_bundle(bundle).verdict == "pass"
    run_bundle(bundle, overrides={"images": "example", "output_dir": str(tmp_path / "out")})
    [sidecar] = (tmp_path / "out").glob("example-0_cxr/*.json")
    record = json.loads(sidecar.read_text())
    assert record["shape"] == [384, 384] and record["radiograph"]["likeness"] > 0.6


@pytest.mark.parametrize("kind", ["png", "dicom", "jpeg2000"])
def test_a_map_lies_on_the_radiographs_own_pixels(bundle, scan, tmp_path, kind):
    path = tmp_path / "chest.png"
    if kind == "png":
        Image.fromarray(scan * 16).save(path)
    else:
        tags = {"ViewPosition": "PA", "PixelSpacing": [0.14, 0.14], "BodyPartExamined": "CHEST"}
        syntax = {"syntax": JPEG2000Lossless} if kind == "jpeg2000" else {}
        path = dicom(tmp_path / "chest.dcm", scan, photometric="MONOCHROME2", **syntax, **tags)
    torch.save(slope_about_half().state_dict(), tmp_path / "model.pt")
    out = tmp_path / "out"
    settings = {"images": str(path), "output_dir": str(out), "weights": str(tmp_path / "model.pt")}
    settings["network_def"] = {"_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 1, "kernel_size": 1}
    run_bundle(bundle, overrides=settings)
    heat = np.asarray(Image.open(out / "chest" / "chest_heatmap.png"))
    assert heat.shape == (HEIGHT, WIDTH) and heat.dtype == np.uint16
    overlay = Image.open(out / "chest" / "chest_heatmap_overlay.png")
    assert overlay.size == (WIDTH, HEIGHT) and overlay.mode == "RGB"
    [sidecar] = (out / "chest").glob("*.json")
    record = json.loads(sidecar.read_text())
    assert record["files"] == ["chest_heatmap.png", "chest_heatmap_overlay.png"] and not record.get("Synthetic")
    assert record["radiograph"]["view"] == ("" if kind == "png" else "PA")
    assert not read_mark(out / "chest" / "chest_heatmap.png").synthetic
    # The map says what it should where it should: bright pixels, but at the edge between the two.
    bright = scan / 4095
    low, high = np.percentile(bright, (0.5, 99.5))
    clear = np.abs((bright - low) / (high - low) - 0.5) > 0.2
    truth, found = (bright - low) / (high - low) > 0.5, heat / 65535 > 0.5
    right = (found[clear] == truth[clear]).mean()
    cell = -(-HEIGHT // 64)  # pixels of the radiograph in one of the grid
    moved = [(np.roll(found, (down, across), (0, 1))[clear] == truth[clear]).mean() for down, across in _MOVES * cell]
    assert right > 0.98 and right > max(moved) + 0.002, (right, moved)


def test_bad_radiographs_are_one_sentence_before_anything_runs(bundle, scan, tmp_path):
    torch.save(load_config(bundle).get_parsed_content("network_def").state_dict(), tmp_path / "model.pt")
    settings = {"output_dir": str(tmp_path / "out"), "weights": str(tmp_path / "model.pt")}
    small = scan[::16, ::16]
    dicom(tmp_path / "side.dcm", small, ViewPosition="LATERAL")
    dicom(tmp_path / "breast.dcm", small, "MG")
    for name, sentence in {
        "side.dcm": "is a lateral or oblique view",
        "breast.dcm": "is of modality MG, but this model takes radiographs",
    }.items():
        with pytest.raises((UserError, RuntimeError)) as caught:  # MONAI wraps it; the command line unwraps it
            run_bundle(bundle, overrides=settings | {"images": str(tmp_path / name)})
        assert sentence in str(find_user_error(caught.value))
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_the_grounding_skeleton_of_radiographs_learns_from_masks(tmp_path):
    bundle = new_bundle("chest_xr_grounding_skeleton", "grounding", tmp_path)
    overrides = {"max_epochs": 1, "epoch_length": 1, "train_size": 8, "checkpoint_dir": str(tmp_path / "run")}
    run_bundle(bundle, "train", overrides)
    run_bundle(bundle, overrides={"images": "example", "phrase": "effusion", "output_dir": str(tmp_path / "out")})
    heat = np.asarray(Image.open(tmp_path / "out" / "example-0_cxr" / "example-0_cxr_heatmap.png"))
    assert heat.shape == (384, 384)
