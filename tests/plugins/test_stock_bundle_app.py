"""MONAI Label's own `monaibundle` sample app, unmodified, over bundles in its local model folder."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("monailabel", reason="monailabel is not installed; docs/pins.md says how")

import nibabel as nib
import numpy as np
from asking import voxels
from bundle_runs import ROOT
from conftest import Server
from monailabel.client.client import MONAILabelClient, MONAILabelClientException

REAL_MAP, SYNTHESIS = "brain_mr_anomaly_map_manytasks", "brain_mr_synthesis_ldm"
MAP, TRANSLATION = "phantom_mr_anomaly_map_tiny", "phantom_mr_translation_tiny"
SENTENCE = f"UserError: {SYNTHESIS} makes images from requests and takes none"
STOCK_VIEWER = {"result_extension": ".nrrd", "result_dtype": "uint8"}  # what Slicer's module asks for


@pytest.fixture(scope="module")
def stock(zoo, scans, command_run, tmp_path_factory):
    """The sample app over the released bundles and a small one, and its client."""
    app = tmp_path_factory.mktemp("stock") / "monaibundle"
    shutil.copytree(Path(sys.prefix) / "monailabel" / "sample-apps" / "monaibundle", app)
    left_out = shutil.ignore_patterns("runs", "out", "eval", "common.pt", "single_tasks.pt")
    bundles = [
        *(ROOT / "bundles" / name for name in (REAL_MAP, SYNTHESIS)),
        *(zoo.parent / "bundles" / name for name in (MAP, TRANSLATION)),
    ]
    for bundle in bundles:
        shutil.copytree(bundle, app / "model" / bundle.name, ignore=left_out)
    (heat,) = command_run(zoo.parent / "bundles" / MAP, scans[2]).glob("*/*_heatmap.nii.gz")
    config = app / "model" / MAP / "configs" / "inference.json"  # untrained, so its regions are made to be some
    config.write_text(
        json.dumps(json.loads(config.read_text()) | {"threshold": float(np.percentile(voxels(heat), 95))})
    )
    studies = tmp_path_factory.mktemp("stock_studies")
    shutil.copy(scans[2], studies)
    names = ",".join(bundle.name for bundle in bundles)
    server = Server(None, studies, app.parent, app=app, models=names, skip_trainers="true")
    try:
        server.start()
        yield server, MONAILabelClient(server.url, str(app.parent))
    finally:
        server.stop()


def test_a_map_is_the_commands_map_and_its_scores_come_along(stock, scans, command_run):
    _, client = stock
    made = command_run(ROOT / "bundles" / REAL_MAP, scans[2]) / "scan_2"
    path, params = client.infer(REAL_MAP, "scan_2", {})
    heat = nib.load(path)
    assert np.asarray(heat.dataobj).dtype == np.float32
    assert np.array_equal(voxels(path), voxels(made / "scan_2_heatmap.nii.gz"))
    assert np.allclose(heat.affine, nib.load(scans[2]).affine, atol=1e-3)
    assert params["score"] > 0 and {"peak", "threshold", "regions"} <= set(params)


def test_for_slicers_module_the_regions_come_as_one_segment(stock, scans, command_run):
    import nrrd

    server, client = stock
    made = command_run(server.app / "model" / MAP, scans[2]) / "scan_2"
    path, params = client.infer(MAP, "scan_2", STOCK_VIEWER)
    segments, _ = nrrd.read(path)
    regions = voxels(made / "scan_2_dseg.nii.gz") > 0
    assert segments.dtype == np.uint8 and regions.any()
    assert np.array_equal(segments, regions)
    assert list(params["label_names"]) == ["anomaly"], "the module calls the value 1 by the first name"


def test_a_translation_is_served_as_its_command_makes_it(stock, zoo, scans, command_run):
    _, client = stock
    made = command_run(zoo.parent / "bundles" / TRANSLATION, scans[2]) / "scan_2" / "scan_2_T2w.nii.gz"
    path, _ = client.infer(TRANSLATION, "scan_2", {})
    assert np.array_equal(voxels(path), voxels(made))


def test_a_generator_is_refused_with_one_sentence_in_the_log(stock):
    server, client = stock
    with pytest.raises(MONAILabelClientException):
        client.infer(SYNTHESIS, "scan_2", {})
    end = time.monotonic() + 20  # the log is written after the answer
    while SENTENCE not in (text := (server.folder / "server.log").read_text()) and time.monotonic() < end:
        time.sleep(0.1)
    assert SENTENCE in text
    assert client.info()["models"]
