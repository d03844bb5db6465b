"""Classifiers on a server: the classes of an upload and of a stored image, which keeps the likeliest one."""

from __future__ import annotations

import json
import sys
import zipfile
from io import BytesIO

import pytest

pytest.importorskip("monailabel", reason="monailabel is not installed; docs/pins.md says how")

import requests
from bundle_runs import ROOT
from conftest import Server

from synthzoo.bundle.find import find_bundles, read_metadata
from synthzoo.cases.examples import write_example

sys.path.insert(0, str(ROOT / "plugins" / "slicer" / "SynthZoo" / "SynthZoo"))
from SynthZooLib.client import ZooClient
from SynthZooLib.scores import read_scores
from SynthZooLib.stored import listed

BLOCKS = {bundle.name: read_metadata(bundle)["synthzoo"] for bundle in find_bundles(ROOT)}
CLASSIFIERS = [name for name, block in BLOCKS.items() if "class_scores" in block["outputs"]]


@pytest.fixture(scope="module")
def classifying(tmp_path_factory):
    """A server of all classifiers over an example of each."""
    studies = tmp_path_factory.mktemp("pictures")
    for name in CLASSIFIERS:
        write_example(BLOCKS[name]["example_input"], studies, 1)
    made = Server(
        ROOT / "bundle_index.json", studies, tmp_path_factory.mktemp("of_classes"), models=",".join(CLASSIFIERS)
    )
    try:
        made.start()
        yield made
    finally:
        made.stop()


def classes_in(answer) -> list:
    assert answer.status_code == 200, answer.text[:500]
    with zipfile.ZipFile(BytesIO(answer.content)) as archive:
        [case] = json.loads(archive.read("answer.json"))["cases"]
        path = case["files"]["class_scores"]["path"]
        found = read_scores(archive.read(path).decode(), path)
    assert case["sidecar"]["class"] == found[0][0]
    return found


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_an_upload_gives_the_probability_of_every_class(classifying, tmp_path, name):
    path = write_example(BLOCKS[name]["example_input"], tmp_path, 3)
    with open(path, "rb") as file:
        url = f"{classifying.url}/zoo/run/{name}"
        answer = requests.post(url, files={"file": (path.name, file)}, data={"params": "{}"}, timeout=200)
    named = read_metadata(ROOT / "bundles" / name)["network_data_format"]["outputs"]["pred"]["channel_def"]
    assert {label for label, _ in classes_in(answer)} == set(named.values())


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_stored_image_keeps_its_likeliest_class_and_a_batch_does_not_ask_again(classifying, name):
    client = ZooClient(classifying.url)
    [study] = [one for one in client.studies() if one.startswith("example")][:1]
    params = {"params": json.dumps({"save_label": True, "store": True})}
    answer = requests.post(f"{classifying.url}/zoo/run/{name}?image={study}", data=params, timeout=200)
    likeliest = classes_in(answer)[0]
    info = client.studies()[study]["image"]["info"]["synthzoo_classes"][name]
    assert info["class"] == likeliest[0] and info["probability"] == pytest.approx(likeliest[1], abs=1e-4)
    assert any(likeliest[0] in line for _, line in listed(client.studies()))
