"""Photographs over a real server, into and out of Slicer and the browser: three colours in, three colours back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from bundle_runs import ROOT
from slicer_python import CHROMIUM, SLICER_PYTHON
from small_colour_bundles import GREY, SWAP, make_colour_zoo
from web_pages import ENV, drawn, report_of, start_page

pytest.importorskip("monailabel", reason="monailabel is not installed; docs/pins.md says how")
import requests
from asking import ask, refused
from conftest import Server
from monailabel.client import MONAILabelClient
from PIL import Image

from synthzoo.bundle.compose import run_bundle
from synthzoo.phantoms.scenes.scene import make_scene

pytestmark = pytest.mark.timeout(600)
SHAPE = (64, 80)
FILES = ("plain.png", "held.jpg", "slice.nii.gz", "slice.nrrd")


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    """A painted scene, uint8 (64, 80, 3)."""
    image = make_scene(2_005_002, 80, 1, ("car",)).image
    return np.rint(255 * image.transpose(1, 2, 0)).astype(np.uint8)[8:72]


@pytest.fixture(scope="module")
def files(photograph, tmp_path_factory) -> dict[str, Path]:
    """The photograph as a PNG, held upright by its EXIF alone, and as Slicer saves it."""
    import SimpleITK as sitk

    folder = tmp_path_factory.mktemp("photographs")
    Image.fromarray(photograph).save(folder / "plain.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # the file's rows are the photograph's columns, from the right
    Image.fromarray(np.rot90(photograph).copy()).save(folder / "held.jpg", exif=exif, quality=95, subsampling=0)
    for ending in (".nii.gz", ".nrrd"):
        sitk.WriteImage(sitk.GetImageFromArray(photograph[None], isVector=True), str(folder / f"slice{ending}"))
    return {name: folder / name for name in FILES}


@pytest.fixture(scope="module")
def zoo(tmp_path_factory) -> Path:
    return make_colour_zoo(tmp_path_factory.mktemp("colours"))


@pytest.fixture(scope="module")
def server(zoo, files, tmp_path_factory):
    """A server of both bundles over these files."""
    studies = tmp_path_factory.mktemp("studies")
    for name, path in files.items():
        shutil.copy(path, studies / f"{name.split('.')[1]}_{name}")
    with Server(zoo, studies, tmp_path_factory.mktemp("server")) as made:
        yield made


@pytest.fixture(scope="module")
def client(server, tmp_path_factory):
    return MONAILabelClient(server.url, str(tmp_path_factory.mktemp("client")))


def expect_swapped(path, photograph, name: str) -> None:
    """The picture of a path is the photograph with red and blue in each other's place; of a JPEG, nearly."""
    with Image.open(path) as picture:
        assert picture.mode == "RGB", name
        found = np.asarray(picture).astype(int)
    difference = np.abs(found - photograph[..., ::-1])
    assert found.shape == photograph.shape and (difference.mean() < 3 if "jpg" in name else difference.max() == 0), name


def test_every_study_of_the_folder_comes_back_in_colour(client, server, photograph):
    studies = sorted(client.datastore()["objects"])
    assert studies == ["jpg_held", "nii_slice", "nrrd_slice", "png_plain"]
    for study in studies:
        path, params = client.infer(SWAP, study, {})
        expect_swapped(path, photograph, study)
        made = client.datastore()["objects"][params["studies"][0]["id"]]["image"]
        assert made["info"]["source"] == study and made["ext"] == ".png"
        stored = requests.get(f"{server.url}/datastore/image?image={params['studies'][0]['id']}", timeout=60).content
        assert stored == Path(path).read_bytes()


@pytest.mark.parametrize("name", FILES)
def test_an_upload_a_session_and_a_new_study_keep_their_colours(client, files, photograph, name):
    expect_swapped(client.infer(SWAP, "", {}, file=str(files[name]))[0], photograph, name)
    session = client.create_session(str(files[name]))["session_id"]
    expect_swapped(client.infer(SWAP, "", {}, session_id=session)[0], photograph, name)
    study = client.upload_image(str(files[name]), f"new_{name.replace('.', '_')}")["image"]
    expect_swapped(client.infer(SWAP, study, {})[0], photograph, name)


def test_a_bundle_of_grey_says_by_its_own_rule_what_becomes_of_colours(client, server, files, photograph, tmp_path):
    for name in FILES:
        with open(files[name], "rb") as file:
            said = refused(ask(server, GREY, files={"file": (name, file)}))
        assert f"{name} is in colour, but a grey picture is needed" in said and "/" not in said.split(name)[0]
    grey = photograph[..., 0]
    Image.fromarray(np.dstack([grey] * 3)).save(tmp_path / "grey.png")
    path, _ = client.infer(GREY, "", {}, file=str(tmp_path / "grey.png"))
    assert np.abs(np.asarray(Image.open(path)) / 65535 - grey / 255).max() < 1e-4


def test_what_has_no_plain_colours_is_refused_before_it_is_stored(server, photograph, tmp_path):
    veil = np.dstack([photograph, np.full(SHAPE, 100, np.uint8)])
    Image.fromarray(veil).save(tmp_path / "veil.png")
    columns_first = np.ascontiguousarray(veil.transpose(1, 0, 2)).view([(name, "u1") for name in "RGBA"])
    nib.save(nib.Nifti1Image(columns_first, np.eye(4)), tmp_path / "veil.nii.gz")
    Image.fromarray(photograph).convert("CMYK").save(tmp_path / "print.jpg")
    for name, words in (("veil.png", "transparent"), ("veil.nii.gz", "transparent"), ("print.jpg", "for print")):
        data = {"file": (name, (tmp_path / name).read_bytes())}
        assert f"picture {name} " in refused(ask(server, SWAP, files=data)) and words in refused(
            requests.put(f"{server.url}/datastore/image?image=refused", files=data, timeout=60)
        )
    assert "refused" not in server.get("/datastore/?output=all")["objects"]


def test_a_folder_of_photographs_becomes_a_folder_of_pictures_in_colour(zoo, files, photograph, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name, path in files.items():
        shutil.copy(path, folder / f"{name.split('.')[1]}.{name.split('.', 1)[1]}")
    overrides = {"images": str(folder), "output_dir": str(tmp_path / "out")}
    run_bundle(zoo.parent / "bundles" / SWAP, overrides=overrides)
    made = sorted((tmp_path / "out").glob("*/*_swapped.png"))
    assert [path.parent.name for path in made] == ["jpg", "nii", "nrrd", "png"]
    for path in made:
        expect_swapped(path, photograph, path.parent.name)


# --- viewers ----------------------------------------------------------------------------------------------------------


def seen_as(photograph, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """A photograph as a view of this shape draws it, and where it is in the view."""
    parts = [drawn(photograph[..., band].astype(float).T[::-1, ::-1], shape) for band in range(3)]
    return np.stack([part for part, _ in parts], -1), parts[0][1]


@pytest.mark.needs_slicer("slicer", "drawing", "qt")
def test_slicer_shows_photographs_in_colour_sends_them_so_and_takes_colours_back(
    server, files, photograph, tmp_path_factory
):
    folder = Path(os.environ.get("SLICER_PICTURES") or tmp_path_factory.mktemp("slicer"))
    driver, own = str(Path(__file__).with_name("drive_slicer_photographs.py")), list(files)
    paths = ",".join(str(path) for path in files.values())
    seen = report_of(driver, server.url, "png_plain", paths, str(folder), SWAP, GREY)
    assert set(seen["classes"]) == {"vtkMRMLVectorVolumeNode"} and not seen["said"] and seen["chosen"] == "png_plain"
    for name, expected in (("study", photograph), ("made_of_study", photograph[..., ::-1])):
        assert np.array_equal(np.load(folder / f"{name}.npz")["voxels"][0], expected), name
    for number, name in enumerate(own):
        for made, expected in (("own", photograph), ("made_of_own", photograph[..., ::-1])):
            voxels = np.load(folder / f"{made}_{number}.npz")["voxels"][0].astype(int)
            assert np.abs(voxels - expected).mean() < (4 if "jpg" in name else 1e-9), (made, name)
    view = np.load(folder / "study_view.npy").astype(float)
    expected, inside = seen_as(photograph, view.shape)
    assert np.abs(view - expected)[inside].mean() < 8
    assert "pale is transparent in places" in " ".join(seen["pale"])
    assert "is in colour, but a grey picture is needed" in seen["grey"]


@pytest.mark.needs_slicer("slicer", "drawing", "playwright", "chromium")
def test_the_page_shows_a_photograph_and_what_was_made_of_it_in_colour(server, photograph, tmp_path_factory):
    folder = Path(os.environ.get("WEB_PICTURES") or tmp_path_factory.mktemp("web"))
    page, url = start_page(folder, "--server", server.url)
    try:
        driver = str(Path(__file__).with_name("drive_web_photographs.py"))
        seen = report_of(driver, url, str(folder), CHROMIUM, SWAP, "png_plain", seconds=420)
    finally:
        page.kill()
        page.wait()
    assert seen["page_errors"] == [] and seen["shown"].startswith("png_plain | ")
    swapped = photograph[..., ::-1]
    for name, truth in (("photograph", photograph), ("left", photograph), ("right", swapped)):
        view = np.load(folder / f"{name}_view.npy").astype(float)
        expected, inside = seen_as(truth, view.shape)
        assert np.abs(view - expected)[inside].mean() < 8, name


@pytest.mark.needs_slicer("slicer")
def test_the_page_lists_pictures_of_a_run_without_those_that_show_its_results(files, tmp_path):
    case = tmp_path / "out" / "plain"
    case.mkdir(parents=True)
    for name in ("plain_heatmap.png", "plain_heatmap_overlay.png", "plain_background.png", "../preview.png"):
        shutil.copy(files["plain.png"], case / name)
    (case / "plain_heatmap.json").write_text(json.dumps({"input": {"name": "plain.png"}, "score": 0.5}))
    code = (
        "import sys, plugins.web; from plugins.web.sources import Folder, subtitle\n"
        "for case in Folder(*sys.argv[1:]).studies(): print('CASE', case.name, sorted(case.outputs), "
        "case.outputs['image'].path, subtitle(case))"
    )
    command = [SLICER_PYTHON, "-c", code, str(tmp_path / "out"), str(files["plain.png"].parent)]
    done = subprocess.run(command, capture_output=True, text=True, env=ENV, cwd=ROOT, timeout=200, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("CASE")]
    assert lines == [f"CASE plain ['heat_map', 'image'] {files['plain.png']} score 0.5"], done.stderr[-2000:]
