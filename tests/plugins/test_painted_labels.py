"""Label maps by request or of one's own, painted in a style, over a real server: API, browser and Slicer."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from bundle_runs import ROOT
from slicer_python import CHROMIUM
from web_pages import report_of, start_page

pytest.importorskip("monailabel", reason="monailabel is not installed; docs/pins.md says how")
import requests
from asking import ask, refused
from conftest import Server
from PIL import Image

from synthzoo.bundle.compose import run_bundle
from synthzoo.bundle.find import read_metadata
from synthzoo.cases.examples import write_example
from synthzoo.io.nifti import write_nifti
from synthzoo.phantoms.brain.phantom import draw_params, make_brain

pytestmark = pytest.mark.timeout(600)  # two minutes on a machine at leisure
MODEL = "brain_mr_synthesis_spade"
SHAPE = (96, 80)
FEW = {"steps": 4}


@pytest.fixture(scope="module")
def studies(tmp_path_factory) -> Path:
    """A folder with one skull-stripped T2w scan."""
    folder = tmp_path_factory.mktemp("brains")
    made = make_brain(draw_params(5), 4.0, "T2w")
    write_nifti(folder / "scan_t2.nii.gz", (900 * made.image).astype(np.float32), made.anatomy.affine)
    return folder


@pytest.fixture(scope="module")
def server(studies, tmp_path_factory):
    """A server of this bundle alone over that scan."""
    with Server(ROOT / "bundle_index.json", studies, tmp_path_factory.mktemp("painted"), models=MODEL) as made:
        yield made


@pytest.fixture(scope="module")
def labels(tmp_path_factory) -> Path:
    """A label map of one's own, as a volume."""
    return write_example("brain_labels", tmp_path_factory.mktemp("labels"))


def run(server, params: dict, image: str = "", file: Path | None = None) -> tuple[dict, dict[str, bytes]]:
    """The one case of an answer, and its files by kind."""
    files = {"file": (file.name, file.read_bytes())} if file else None
    url = f"{server.url}/zoo/run/{MODEL}?image={image}"
    answer = requests.post(url, data={"params": json.dumps({**FEW, **params})}, files=files, timeout=200)
    assert answer.status_code == 200, answer.text[:500]
    with zipfile.ZipFile(BytesIO(answer.content)) as archive:
        told = json.loads(archive.read("answer.json"))
        [case] = told["cases"]
        case["study"] = told["studies"][0]["id"]
        return case, {kind: archive.read(file["path"]) for kind, file in case["files"].items()}


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(png))).astype(int)


def test_the_index_says_that_labels_may_be_given_and_a_style_is_an_image(server):
    told = server.get("/zoo/index")["models"][MODEL]["synthzoo"]
    assert told["takes_labels"] and told["takes_images"] and not told["needs_images"]
    style = told["options"]["style"]
    assert style["format"] == "image" and "FLAIR" in style["examples"] and style["default"] == "T1w"


def test_a_request_becomes_a_labelled_study_which_is_painted_again_in_another_style(server):
    case, files = run(server, {"WMH_ml": 1.5, "slice_height": 0.6, "style": "T2w", "seed": 3})
    image, label = pixels(files["image"]), pixels(files["label"])
    assert image.shape == label.shape == SHAPE and image.max() > 255
    assert case["files"]["label"]["label_names"]["lesion WMH"] == 5 and case["sidecar"]["sampler"]["style"] == "T2w"
    kept = server.get("/datastore/?output=all")["objects"][case["study"]]
    assert kept["image"]["info"]["synthetic"] and "original" in kept["labels"]
    again, painted = run(server, {"style": "FLAIR"}, image=case["study"])
    assert again["study"] != case["study"] and np.array_equal(pixels(painted["label"]), label)
    assert np.abs(pixels(painted["image"]) - image)[label > 0].mean() > 500
    info = server.get("/datastore/?output=all")["objects"][again["study"]]["image"]["info"]
    assert info["source"] == case["study"] and info["source_tag"] == "original"


def test_an_own_label_map_in_the_style_of_a_study_is_what_the_command_writes(server, labels, studies, tmp_path):
    case, files = run(server, {"style": "scan_t2", "slice_height": 0.5, "store": False}, file=labels)
    scan = studies / "scan_t2.nii.gz"
    digest = hashlib.sha256(scan.read_bytes()).hexdigest()
    assert case["sidecar"]["settings"]["style"] == {"name": scan.name, "sha256": digest}
    overrides = {"images": str(labels), "style": str(scan), "slice_height": 0.5, "output_dir": str(tmp_path / "out")}
    run_bundle(ROOT / "bundles" / MODEL, overrides=overrides)
    [written] = (tmp_path / "out").glob("*/*_slice.png")
    assert written.read_bytes() == files["image"]
    assert json.loads(written.with_suffix(".json").read_text(encoding="utf-8")) == case["sidecar"]


def test_paths_unknown_studies_and_studies_without_labels_are_refused(server, studies, labels):
    for value in (str(studies / "scan_t2.nii.gz"), "/etc/hostname", "../scan_t2"):
        assert "takes no path" in refused(ask(server, MODEL, {"style": value}))
    said = refused(ask(server, MODEL, {"style": "scan_t9"}))
    assert "must be one of T1w, " in said and "or the id of an image of the datastore" in said
    assert "needs a label map, but image 'scan_t2' has no 'final'" in refused(ask(server, MODEL, image="scan_t2"), 404)
    with open(studies / "scan_t2.nii.gz", "rb") as file:
        said = refused(ask(server, MODEL, files={"file": ("scan.nii.gz", file)}))
    assert "scan.nii.gz holds" in said and "which is no label" in said


def test_next_sample_makes_a_labelled_slice(server):
    body = {"seed": 8, "style": "FLAIR", **FEW}
    answer = requests.post(f"{server.url}/activelearning/generate_{MODEL}", json=body, timeout=200)
    assert answer.status_code == 200 and MODEL in answer.json()["id"], answer.text


# --- viewers ----------------------------------------------------------------------------------------------------------


@pytest.mark.needs_slicer("slicer", "drawing", "qt")
def test_slicer_shows_a_labelled_slice_and_paints_its_segmentation_again(server, tmp_path_factory):
    folder = Path(os.environ.get("SLICER_PICTURES") or tmp_path_factory.mktemp("slicer"))
    driver = str(Path(__file__).with_name("drive_slicer_painting.py"))
    seen = report_of(driver, server.url, str(folder), MODEL, "scan_t2")
    assert seen["alone"] and seen["large"] and not seen["said"] and seen["verb"] == "Generate"
    images = {name: np.load(folder / f"{name}.npz")["voxels"].squeeze() for name in ("generated", "painted", "own")}
    assert {image.shape for image in images.values()} == {SHAPE} and seen["labels"][0] == seen["labels"][1]
    assert np.abs(images["generated"].astype(float) - images["painted"]).mean() > 100
    assert seen["styles"][:2] == ["T2w", "FLAIR"] and seen["styles"][2]["name"] == "scan_t2.nii.gz"
    assert "must be one of" in seen["refused"] and "T1w" in seen["refused"]


@pytest.mark.needs_slicer("slicer", "drawing", "playwright", "chromium")
def test_the_page_generates_or_paints_what_is_shown_as_its_switch_says(server, tmp_path_factory):
    folder = Path(os.environ.get("WEB_PICTURES") or tmp_path_factory.mktemp("web"))
    page, url = start_page(folder, "--server", server.url)
    try:
        driver = str(Path(__file__).with_name("drive_web_painting.py"))
        title = read_metadata(ROOT / "bundles" / MODEL)["name"]
        seen = report_of(driver, url, str(folder), CHROMIUM, title, seconds=420)
    finally:
        page.kill()
        page.wait()
    assert seen["page_errors"] == [] and MODEL in seen["generated"] and MODEL in seen["painted"]
    assert " | " in seen["painted"] and "or the id of an image of the datastore" in seen["refused"]
    views = {name: np.load(folder / f"{name}_view.npy").astype(float) for name in ("generated", "painted")}
    assert all(view.std() > 10 for view in views.values())
