"""Bundles of radiographs on a server: an upload or a stored study, PNG or DICOM, gives every map on its own pixels."""

from __future__ import annotations

import json
import sys
import zipfile
from io import BytesIO

import numpy as np
import pytest

pytest.importorskip("monailabel", reason="monailabel is not installed; docs/pins.md says how")

import requests
from bundle_runs import ROOT
from conftest import Server
from dicom_files import dicom
from PIL import Image

from synthzoo.bundle.find import find_bundles, read_json, read_metadata
from synthzoo.bundle.outputs import can_be_shown
from synthzoo.io.radiographs import MODALITIES
from synthzoo.phantoms.chest.phantom import chest_study
from synthzoo.serving.served import ServedBundle

sys.path.insert(0, str(ROOT / "plugins" / "slicer" / "SynthZoo" / "SynthZoo"))
from SynthZooLib.client import ZooClient
from SynthZooLib.stored import fetch_study

SHAPE = (160, 128)


def takes_radiographs(bundle) -> bool:
    metadata = read_metadata(bundle)
    modality = metadata["network_data_format"]["inputs"]["image"].get("modality")
    served = can_be_shown(ServedBundle(bundle).outputs)  # a bundle that writes tables alone is for the command line
    return served and modality in MODALITIES and "images" in read_json(bundle / "configs" / "inference.json")


OF_RADIOGRAPHS = [bundle.name for bundle in find_bundles(ROOT) if takes_radiographs(bundle)]


@pytest.fixture(scope="module")
def chest() -> np.ndarray:
    image = chest_study(21, findings=["consolidation"], size=160).image
    return np.round(image[:, 16:144] * 4095).astype(np.uint16)


@pytest.fixture(scope="module")
def radiographs(chest, tmp_path_factory):
    """A server of these bundles over two studies, one PNG and one DICOM."""
    studies = tmp_path_factory.mktemp("radiographs")
    Image.fromarray(chest * 16).save(studies / "png_chest.png")
    dicom(studies / "dicom_chest.dcm", chest, ViewPosition="PA", PixelSpacing=[0.4, 0.4])
    models = ",".join(OF_RADIOGRAPHS)
    made = Server(ROOT / "bundle_index.json", studies, tmp_path_factory.mktemp("of_radiographs"), models=models)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.mark.parametrize("name", OF_RADIOGRAPHS)
def test_an_upload_gives_every_map_on_the_radiograph_s_pixels(radiographs, chest, tmp_path, name):
    outputs = read_metadata(ROOT / "bundles" / name)["synthzoo"]["outputs"]
    path = dicom(tmp_path / "upload.dcm", chest, ViewPosition="PA")
    with open(path, "rb") as file:
        url = f"{radiographs.url}/zoo/run/{name}"
        answer = requests.post(url, files={"file": ("upload.dcm", file)}, data={"params": "{}"}, timeout=200)
    assert answer.status_code == 200, answer.text[:500]
    with zipfile.ZipFile(BytesIO(answer.content)) as archive:
        [case] = json.loads(archive.read("answer.json"))["cases"]
        assert set(case["files"]) == {kind for kind, rule in outputs.items() if not rule.get("without_images")}
        if "label" in outputs:
            assert all("%" in name for name in case["files"]["label"]["label_names"]), (
                "a share, as a flat image has no mL"
            )
        for kind in {"heat_map", "confidence", "label"} & set(outputs):
            picture = Image.open(BytesIO(archive.read(case["files"][kind]["path"])))
            assert picture.size == SHAPE[::-1] and (kind == "label" or picture.mode == "I;16")


@pytest.mark.parametrize("name", OF_RADIOGRAPHS)
@pytest.mark.parametrize("study", ["png_chest", "dicom_chest"])
def test_a_study_keeps_its_maps_and_a_viewer_fetches_them(radiographs, tmp_path, name, study):
    outputs = read_metadata(ROOT / "bundles" / name)["synthzoo"]["outputs"]
    params = {"params": json.dumps({"save_label": True, "store": True})}
    answer = requests.post(f"{radiographs.url}/zoo/run/{name}?image={study}", data=params, timeout=200)
    assert answer.status_code == 200, answer.text[:500]
    client = ZooClient(radiographs.url)
    tags = client.studies()[study]["labels"]
    found = fetch_study(client, study, tags, str(tmp_path))
    assert {"image", *({"heat_map", "confidence"} & set(outputs))} <= set(found)
    if "confidence" in outputs:
        heat, sure = (np.asarray(Image.open(found[kind].path)) for kind in ("heat_map", "confidence"))
        assert heat.shape == sure.shape == SHAPE and np.median(sure) > np.median(heat)


def test_what_is_no_radiograph_is_refused_by_the_server_in_one_sentence(radiographs, tmp_path):
    from skimage.data import chelsea

    Image.fromarray(chelsea()).save(tmp_path / "cat.png")
    for name in OF_RADIOGRAPHS:
        with open(tmp_path / "cat.png", "rb") as file:
            url = f"{radiographs.url}/zoo/run/{name}"
            answer = requests.post(url, files={"file": ("cat.png", file)}, data={"params": "{}"}, timeout=200)
        assert 400 <= answer.status_code < 500 and "cat.png" in answer.json()["detail"], answer.text[:300]
