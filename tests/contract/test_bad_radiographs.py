"""What people give a bundle of radiographs: one sentence for each that is none, and the right map for those that are.

Bundles are found by the modality of their input. The reader's own tests are `rooms/test_radiographs.py`.
"""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
import skimage.data
import torch
from bundle_runs import ROOT, quick
from dicom_files import dicom
from PIL import Image
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, RLELossless
from scipy.ndimage import zoom

from synthzoo.bundle.compose import load_config, run_bundle
from synthzoo.bundle.find import find_bundles, read_json, read_metadata
from synthzoo.errors import find_user_error
from synthzoo.io.radiographs import MODALITIES
from synthzoo.phantoms.chest.phantom import chest_study


def takes_radiographs(bundle) -> bool:
    modality = read_metadata(bundle)["network_data_format"]["inputs"]["image"].get("modality")
    return modality in MODALITIES and "images" in read_json(bundle / "configs" / "inference.json")


OF_RADIOGRAPHS = [bundle for bundle in find_bundles(ROOT) if takes_radiographs(bundle)]
OF_MAPS = [bundle for bundle in OF_RADIOGRAPHS if "heat_map" in read_metadata(bundle)["synthzoo"]["outputs"]]
for_each = pytest.mark.parametrize("bundle", OF_RADIOGRAPHS, ids=lambda bundle: bundle.name)
for_each_map = pytest.mark.parametrize("bundle", OF_MAPS, ids=lambda bundle: bundle.name)
SHAPE = (330, 260)


@pytest.fixture(scope="module")
def chest() -> np.ndarray:
    """A phantom's radiograph of 330 x 260 pixels and 12 bits."""
    image = chest_study(11, findings=[], size=128).image
    return np.round(zoom(image, np.divide(SHAPE, image.shape), order=1).clip(0, 1) * 4095).astype(np.uint16)


def saved(path, picture):
    Image.fromarray(picture).save(path)
    return path


def eight_bits(chest):
    return (chest >> 4).astype(np.uint8)


def in_colour(folder, chest):
    return saved(folder / "colour.png", np.stack([eight_bits(chest), eight_bits(chest) // 2, eight_bits(chest)], -1))


def cat(folder, chest):
    return saved(folder / "cat.jpg", skimage.data.chelsea())


def grey_cat(folder, chest):
    return saved(folder / "grey_cat.png", skimage.data.chelsea().mean(-1).astype(np.uint8))


def lateral(folder, chest):
    return dicom(folder / "lateral.dcm", chest, ViewPosition="LL")


def hand(folder, chest):
    return dicom(folder / "hand.dcm", chest, BodyPartExamined="HAND")


def mammogram(folder, chest):
    return dicom(folder / "mammogram.dcm", chest, "MG")


def raw_data(folder, chest):
    return dicom(folder / "raw.dcm", chest, PresentationIntentType="FOR PROCESSING")


def video(folder, chest):
    return dicom(folder / "video.dcm", np.stack([chest] * 3))


def colour_dicom(folder, chest):
    path = folder / "colour.dcm"
    return dicom(path, np.stack([eight_bits(chest), eight_bits(chest) // 3, eight_bits(chest)], -1), "DX", "RGB", 8)


def sideways(folder, chest):
    return saved(folder / "sideways.png", np.rot90(eight_bits(chest)).copy())


def stamp(folder, chest):
    return saved(folder / "stamp.png", eight_bits(chest)[::16, ::16].copy())


def drawing(folder, chest):
    return saved(folder / "drawing.png", eight_bits(chest) // 64 * 64)


def black(folder, chest):
    return saved(folder / "black.png", np.zeros(SHAPE, np.uint8))


def cut_short(folder, chest):
    path = saved(folder / "cut.png", eight_bits(chest))
    path.write_bytes(path.read_bytes()[:2000])
    return path


def volume(folder, chest):
    path = folder / "scan.nii.gz"
    nib.save(nib.Nifti1Image(chest[..., None].astype(np.int16), np.eye(4)), path)
    return path


def absent(folder, chest):
    return folder / "absent.png"


BAD = {
    in_colour: "which is grey,",
    cat: "which is grey,",
    grey_cat: "does not look like a frontal chest",
    lateral: "is a lateral or oblique view (LL)",
    hand: "shows another part of the body (HAND)",
    mammogram: "is of modality MG, but this model takes radiographs",
    raw_data: "holds raw detector data",
    video: "3 frames",
    colour_dicom: "which is grey,",
    sideways: "does not look like a frontal chest",
    stamp: "but a chest radiograph has at least 64 a side",
    drawing: "grey levels, as drawings, masks and texts have",
    black: "shows one shade throughout",
    cut_short: "is a damaged PNG",
    volume: "is no picture: give PNG, JPEG or DICOM",
    absent: "does not exist",
}


@for_each
@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
def test_what_is_no_frontal_radiograph_is_refused_by_name(bundle, make, chest, tmp_path):
    path = make(tmp_path, chest)
    with pytest.raises(Exception) as caught:
        overrides = {"images": str(path), "output_dir": str(tmp_path / "out")}
        load_config(bundle, overrides=overrides).get_parsed_content("dataset")
    error = find_user_error(caught.value)
    assert error is not None, f"a mistake that nobody worded: {caught.value!r}"
    sentence = str(error)
    assert path.name in sentence and BAD[make] in sentence, sentence
    assert "\n" not in sentence and sentence.rstrip()[-1] == "."


def shown_dark(folder, chest):
    """MONOCHROME1, as many detectors store it: 0 is white."""
    return dicom(folder / "shown_dark.dcm", 4095 - chest, photometric="MONOCHROME1"), 1e-5


def said_wrongly(folder, chest):
    """Bones are dark, and the header says MONOCHROME2; the reader turns it."""
    return dicom(folder / "said_wrongly.dcm", 4095 - chest), 1e-5


def exported_dark(folder, chest):
    """A PNG of an export that forgot MONOCHROME1."""
    white = np.round((1 - chest / 4095) * 65535).astype(np.uint16)
    return saved(folder / "exported_dark.png", white), 1e-3


def plain(folder, chest):
    return dicom(folder / "plain.dcm", chest, ViewPosition="PA"), 1e-5


def deep_png(folder, chest):
    return saved(folder / "deep.png", np.round(chest / 4095 * 65535).astype(np.uint16)), 1e-3


def grey_as_colours(folder, chest):
    return saved(folder / "grey.png", np.stack([eight_bits(chest)] * 3, -1)), 0.02


def jpeg(folder, chest):
    return saved(folder / "photo.jpg", eight_bits(chest)), 0.1


def jpeg_dicom(folder, chest):
    return dicom(folder / "jpeg.dcm", eight_bits(chest), bits=8, syntax=JPEGBaseline8Bit), 0.1


def jpeg2000_dicom(folder, chest):
    return dicom(folder / "jpeg2000.dcm", chest, syntax=JPEG2000Lossless), 1e-5


def rle_dicom(folder, chest):
    return dicom(folder / "rle.dcm", chest, syntax=RLELossless), 1e-5


GOOD = [
    shown_dark,
    said_wrongly,
    exported_dark,
    deep_png,
    grey_as_colours,
    jpeg,
    jpeg_dicom,
    jpeg2000_dicom,
    rle_dicom,
]


def seen_by_network(bundle, path, folder) -> torch.Tensor:
    overrides = {"images": str(path), "output_dir": str(folder / "out")}
    return load_config(bundle, overrides=overrides).get_parsed_content("dataset")[0]["image"].as_tensor()


@for_each
@pytest.mark.parametrize("make", GOOD, ids=lambda make: make.__name__)
def test_the_network_sees_the_same_whatever_the_file(bundle, make, chest, tmp_path):
    path, tolerance = make(tmp_path, chest)
    reference = seen_by_network(bundle, plain(tmp_path, chest)[0], tmp_path)
    found = seen_by_network(bundle, path, tmp_path)
    assert reference.std() > 0.1 and float((found - reference).abs().mean()) < tolerance


@for_each_map
@pytest.mark.parametrize("make", [shown_dark, exported_dark])
def test_a_map_lies_over_bright_bones_and_on_the_file_s_own_pixels(bundle, make, chest, tmp_path):
    path, _ = make(tmp_path, chest)
    run_bundle(bundle, overrides=quick(bundle, path, tmp_path / "out", images=str(path)))
    folder = tmp_path / "out" / path.stem
    heat = Image.open(folder / f"{path.stem}_heatmap.png")
    assert heat.size == SHAPE[::-1] and heat.mode == "I;16"
    clear = np.asarray(heat) < 0.02 * 65535  # where the map is 0 the image beneath stays as it is
    overlay = np.asarray(Image.open(folder / f"{path.stem}_heatmap_overlay.png").convert("L"), np.float32)
    assert clear.mean() > 0.02
    assert np.corrcoef(overlay[clear], chest[clear])[0, 1] > 0.9
    [sidecar] = folder.glob("*.json")
    assert json.loads(sidecar.read_text(encoding="utf-8"))["radiograph"]["turned"] == (make is exported_dark)
