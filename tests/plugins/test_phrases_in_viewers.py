"""A phrase that is typed becomes its map over the radiograph, a sentence a radiograph: in the browser and in Slicer."""

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
from web_pages import drawn, report_of, start_page

pytest.importorskip("monailabel", reason="monailabel is not installed; docs/pins.md says how")
import requests
from conftest import Server
from PIL import Image

from synthzoo.bundle.find import read_metadata
from synthzoo.phantoms.chest.phantom import chest_study

pytestmark = pytest.mark.timeout(600)  # two minutes on a machine at leisure
MODEL = "chest_xr_grounding_text2image"
SHAPE = (160, 128)
PHRASES = ("consolidation", "left pleural effusion")  # those of the drivers


@pytest.fixture(scope="module")
def chest() -> np.ndarray:
    """A phantom's radiograph, float in [0, 1]."""
    return chest_study(21, findings=["consolidation"], size=160).image[:, 16:144]


@pytest.fixture(scope="module")
def server(chest, tmp_path_factory):
    """A server of this bundle alone over one radiograph."""
    studies = tmp_path_factory.mktemp("chests")
    Image.fromarray(np.round(chest * 65535).astype(np.uint16)).save(studies / "chest.png")
    with Server(ROOT / "bundle_index.json", studies, tmp_path_factory.mktemp("phrases"), models=MODEL) as made:
        yield made


@pytest.fixture(scope="module")
def maps(server) -> list[np.ndarray]:
    """The map of each phrase as any client gets it, float in [0, 1], on the radiograph's pixels; none is kept."""
    found = []
    for phrase in PHRASES:
        params = json.dumps({"prompt": phrase})
        answer = requests.post(f"{server.url}/zoo/run/{MODEL}?image=chest", data={"params": params}, timeout=200)
        assert answer.status_code == 200, answer.text[:500]
        with zipfile.ZipFile(BytesIO(answer.content)) as archive:
            [case] = json.loads(archive.read("answer.json"))["cases"]
            found.append(np.asarray(Image.open(BytesIO(archive.read(case["files"]["heat_map"]["path"])))) / 65535)
        assert found[-1].shape == SHAPE
    assert np.abs(found[0] - found[1]).mean() > 0.02, "each phrase has a map of its own"
    return found


@pytest.fixture(scope="module")
def browser(server, maps, tmp_path_factory) -> dict:
    """What a reader saw on the page, see drive_web_prompt.py."""
    folder = Path(os.environ.get("WEB_PICTURES") or tmp_path_factory.mktemp("web"))
    page, url = start_page(folder, "--server", server.url)
    try:
        driver = str(Path(__file__).with_name("drive_web_prompt.py"))
        title = read_metadata(ROOT / "bundles" / MODEL)["name"]
        report = report_of(driver, url, str(folder), CHROMIUM, title, seconds=420)
    finally:
        page.kill()
        page.wait()
    return report | {"views": {path.stem: np.load(path).astype(float) for path in folder.glob("*.npy")}}


@pytest.fixture(scope="module")
def slicer(server, maps, tmp_path_factory) -> dict:
    """What the panel in Slicer left, see drive_slicer_prompt.py."""
    folder = Path(os.environ.get("SLICER_PICTURES") or tmp_path_factory.mktemp("slicer"))
    driver = str(Path(__file__).with_name("drive_slicer_prompt.py"))
    return report_of(driver, server.url, "chest", str(folder), MODEL) | {"folder": folder}


@pytest.mark.needs_slicer("slicer", "drawing", "playwright", "chromium")
@pytest.mark.parametrize("number", range(len(PHRASES)))
def test_a_typed_phrase_colours_the_radiograph_in_the_browser_where_its_map_is_high(browser, chest, maps, number):
    plain, over = (browser["views"][f"{name}_view"] for name in ("plain", f"phrase_{number}"))
    coloured = np.abs(over - over.mean(-1, keepdims=True)).max(-1) > 20
    heat, inside = drawn(maps[number].T[::-1, ::-1], over.shape)
    shown, _ = drawn(chest.T[::-1, ::-1], plain.shape)
    assert np.corrcoef(shown[inside], plain.mean(-1)[inside])[0, 1] > 0.9, "the radiograph lies there, upright"
    assert not (np.abs(plain - plain.mean(-1, keepdims=True)).max(-1) > 20)[inside].any()
    assert 0.01 < coloured[inside].mean() < 0.9
    assert np.median(heat[coloured & inside]) > np.median(heat[~coloured & inside]) + 0.1


@pytest.mark.needs_slicer("slicer", "drawing", "playwright", "chromium")
def test_the_page_says_what_it_seeks_and_refuses_words_that_are_not_known(browser):
    assert browser["seek"]["verb"] == "Locate" and "chest" in browser["seek"]["shown"]
    unknown, denied = browser["refused"]
    assert "does not know the word 'noduel'" in unknown and "nodule" in unknown
    assert "only says what is not there" in denied
    assert browser["page_errors"] == []


@pytest.mark.needs_slicer("slicer", "drawing", "playwright", "chromium")
def test_a_sentence_becomes_a_radiograph_in_the_browser(browser):
    made = browser["generate"]
    assert len(made["studies"]) == 2 and any(MODEL in study for study in made["studies"]), made
    view = browser["views"]["generated_view"]
    assert np.abs(view - view.mean(-1, keepdims=True)).max() < 20 and view.std() > 20, "grey, no map over it"


@pytest.mark.needs_slicer("slicer", "drawing", "qt")
def test_a_typed_phrase_gives_its_map_in_slicer_and_a_sentence_an_image(slicer, maps):
    assert slicer["verb"] == "Locate" and slicer["alone"] and slicer["open"] and not slicer["said"]
    for number, found in enumerate(slicer["found"]):
        assert found["prompt"] == PHRASES[number] and found["opacity"] > 0
        heat = np.load(slicer["folder"] / f"heat_{number}.npz")["voxels"].squeeze().astype(float)
        heat = heat.T if heat.shape == SHAPE[::-1] else heat
        assert heat.shape == SHAPE
        assert np.corrcoef(heat.ravel(), maps[number].ravel())[0, 1] > 0.99
    assert "does not know the word 'noduel'" in slicer["refused"]
    made = np.load(slicer["folder"] / "generated.npz")["voxels"].squeeze()
    assert made.shape == (128, 128) and made.std() > 0 and "Phrase grounding" in slicer["generated"]
