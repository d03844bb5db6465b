"""Masks of a word in a photograph, from the server: in the answer, in the browser and in Slicer."""

from __future__ import annotations

import json
import os
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from bundle_runs import ROOT
from slicer_python import CHROMIUM
from web_pages import drawn, report_of, seen_as, start_page

pytest.importorskip("monailabel", reason="monailabel is not installed; docs/pins.md says how")
import requests
from conftest import Server
from PIL import Image

from synthzoo.bundle.find import read_metadata
from synthzoo.phantoms.scenes.scene import make_scene

pytestmark = pytest.mark.timeout(600)
MODEL = "scenes_rgb_segmentation_concept"
WORDS = ("car", "dog")  # those of the drivers


@pytest.fixture(scope="module")
def scene():
    """A painted scene with a car and nothing else, 160 x 160."""
    return make_scene(2_005_002, 160, 1, ("car",))


@pytest.fixture(scope="module")
def pixels(scene) -> np.ndarray:
    """The photograph, uint8 (128, 160, 3)."""
    return np.rint(255 * scene.image.transpose(1, 2, 0)).astype(np.uint8)[16:144]


@pytest.fixture(scope="module")
def server(pixels, tmp_path_factory):
    """A server of this bundle alone over the photograph."""
    studies = tmp_path_factory.mktemp("photographs")
    Image.fromarray(pixels).save(studies / "street.png")
    with Server(ROOT / "bundle_index.json", studies, tmp_path_factory.mktemp("concepts"), models=MODEL) as made:
        yield made


@pytest.fixture(scope="module")
def answers(server) -> dict[str, dict]:
    """Word -> what any client gets of it: map and mask on the photograph's pixels, and the names of the mask."""
    found = {}
    for word in WORDS:
        params = json.dumps({"concept": word})
        answer = requests.post(f"{server.url}/zoo/run/{MODEL}?image=street", data={"params": params}, timeout=200)
        assert answer.status_code == 200, answer.text[:500]
        with zipfile.ZipFile(BytesIO(answer.content)) as archive:
            [case] = json.loads(archive.read("answer.json"))["cases"]
            pictures = {
                kind: np.asarray(Image.open(BytesIO(archive.read(file["path"]))))
                for kind, file in case["files"].items()
            }
        found[word] = {**pictures, "names": case["files"]["label"]["label_names"]}
    return found


@pytest.fixture(scope="module")
def browser(server, answers, tmp_path_factory) -> dict:
    """What a reader saw on the page, see drive_web_concept.py."""
    folder = Path(os.environ.get("WEB_PICTURES") or tmp_path_factory.mktemp("web"))
    page, url = start_page(folder, "--server", server.url)
    try:
        driver = str(Path(__file__).with_name("drive_web_concept.py"))
        title = read_metadata(ROOT / "bundles" / MODEL)["name"]
        report = report_of(driver, url, str(folder), CHROMIUM, title, seconds=420)
    finally:
        page.kill()
        page.wait()
    return report | {"views": {path.stem: np.load(path).astype(float) for path in folder.glob("*.npy")}}


@pytest.fixture(scope="module")
def slicer(server, answers, pixels, tmp_path_factory) -> dict:
    """What the panel in Slicer left, see drive_slicer_concept.py."""
    folder = Path(os.environ.get("SLICER_PICTURES") or tmp_path_factory.mktemp("slicer"))
    own = tmp_path_factory.mktemp("own") / "own.png"
    Image.fromarray(pixels).save(own)
    driver = str(Path(__file__).with_name("drive_slicer_concept.py"))
    return report_of(driver, server.url, "street", str(folder), MODEL, str(own)) | {"folder": folder}


def test_the_server_names_the_mask_by_its_word_on_the_photograph_s_pixels(answers, scene):
    truth = scene.mask("car")[16:144]
    for word, found in answers.items():
        assert found["heat_map"].shape == found["label"].shape == truth.shape and found["names"] == {word: 1}
    heat = answers["car"]["heat_map"] / 65535
    assert heat[truth].mean() > heat[~truth].mean() + 0.3
    assert (answers["dog"]["label"] > 0).mean() < 0.3 * truth.mean()


def test_a_word_that_is_not_known_is_one_sentence(server):
    params = json.dumps({"concept": "dgo"})
    answer = requests.post(f"{server.url}/zoo/run/{MODEL}?image=street", data={"params": params}, timeout=200)
    assert answer.status_code == 400 and "does not know the word 'dgo'; near ones are dog" in answer.text


@pytest.mark.needs_slicer("slicer", "drawing", "playwright", "chromium")
def test_a_word_colours_the_photograph_in_the_browser_where_its_map_is_high(browser, answers, pixels):
    plain, over = browser["views"]["plain_view"], browser["views"]["word_car_view"]
    expected, shown = seen_as(pixels, plain.shape)
    assert np.abs(plain - expected)[shown].mean() < 8, "the photograph is shown in its colours"
    heat, inside = drawn((answers["car"]["heat_map"] / 65535).T[::-1, ::-1], over.shape)
    changed = np.abs(over - plain).max(-1) > 20
    assert 0.01 < changed[inside].mean() < 0.9
    assert heat[changed & inside].mean() > heat[~changed & inside].mean() + 0.1
    assert "does not know the word 'dgo'" in browser["refused"] and browser["page_errors"] == []


@pytest.mark.needs_slicer("slicer", "drawing", "qt")
def test_a_word_gives_its_map_in_slicer_over_a_photograph_in_colour(slicer, answers, pixels):
    assert not slicer["said"] and "does not know the word 'dgo'" in slicer["refused"]
    assert set(slicer["classes"]) == {"vtkMRMLVectorVolumeNode"}
    assert np.array_equal(np.load(slicer["folder"] / "photograph.npz")["voxels"][0], pixels)
    for word, found in zip(WORDS, slicer["found"]):
        assert found["concept"] == word and found["opacity"] > 0
    for name, word in ((WORDS[0], WORDS[0]), (WORDS[1], WORDS[1]), ("own", WORDS[0])):
        heat = np.load(slicer["folder"] / f"heat_{name}.npz")["voxels"].squeeze().astype(float)
        expected = answers[word]["heat_map"] / 65535
        heat = heat.T if heat.shape == expected.shape[::-1] else heat
        assert heat.shape == expected.shape and np.abs(heat - expected).max() < 0.01, name
