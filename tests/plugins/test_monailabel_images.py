"""Images and labels of the datastore as inputs of label-to-image, super-resolution and counterfactual bundles."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

pytest.importorskip("monailabel", reason="monailabel is not installed; docs/pins.md says how")

import nibabel as nib
from asking import voxels
from bundle_runs import ROOT
from monailabel.client.client import MONAILabelClientException
from small_image_bundles import COUNTERFACTUAL, FINER, FROM_LABELS
from typed_commands import functions

from synthzoo.serving.served import ServedBundle


def stored(client, params) -> dict:
    """The info of the study that a request has made."""
    return client.datastore()["objects"][params["studies"][0]["id"]]["image"]["info"]


def command_output(command_run, zoo, name, scan, **options) -> np.ndarray:
    (path,) = command_run(zoo.parent / "bundles" / name, scan, **options).glob("*/*_T2w.nii.gz")
    return voxels(path)


def test_an_image_is_made_of_a_stored_label_map(client, zoo, scans, command_run, tmp_path):
    with pytest.raises(MONAILabelClientException, match="needs a label map"):
        client.infer(FROM_LABELS, "scan_1", {"source_tag": "final"})
    scan = nib.load(scans[1])
    labels = tmp_path / "scan_1.nii.gz"
    nib.save(nib.Nifti1Image((np.asarray(scan.dataobj) > 200).astype(np.uint8), scan.affine), labels)
    client.save_label("scan_1", str(labels), tag="final")
    path, params = client.infer(FROM_LABELS, "scan_1", {})
    assert np.array_equal(voxels(path), command_output(command_run, zoo, FROM_LABELS, labels))
    info = stored(client, params)
    assert info["source"] == "scan_1" and info["source_tag"] == "final" and info["synthetic"]
    assert client.info()["models"][FROM_LABELS]["synthzoo"]["takes_labels"]


def test_a_finer_image_lies_where_the_scan_lies(client, zoo, scans, command_run):
    path, params = client.infer(FINER, "scan_0", {})
    finer, scan = nib.load(path), nib.load(scans[0])
    assert finer.header.get_zooms() == pytest.approx((2, 2, 2))
    corners = [image.affine @ [*(np.array(image.shape) - 1), 1] for image in (finer, scan)]
    assert np.linalg.norm(corners[0] - corners[1]) < 8 and np.allclose(finer.affine[:3, 3], scan.affine[:3, 3], atol=4)
    assert np.array_equal(voxels(path), command_output(command_run, zoo, FINER, scans[0]))
    assert stored(client, params)["source"] == "scan_0"


def test_factual_and_counterfactual_are_two_studies_of_one_source(client, zoo, scans, command_run):
    found = {value: client.infer(COUNTERFACTUAL, "scan_0", {"lesion": value}) for value in (0, 0.5)}
    shift = voxels(found[0.5][0]) - voxels(found[0][0])
    assert np.allclose(shift, 0.5, atol=1e-6)
    expected = command_output(command_run, zoo, COUNTERFACTUAL, scans[0], lesion=0.5)
    assert np.array_equal(voxels(found[0.5][0]), expected)
    ids = {params["studies"][0]["id"] for _, params in found.values()}
    assert len(ids) == 2
    infos = [stored(client, params) for _, params in found.values()]
    assert {info["source"] for info in infos} == {"scan_0"}
    assert [info["sidecar"]["settings"]["lesion"] for info in infos] == [0, 0.5]
    again = client.infer(COUNTERFACTUAL, "scan_0", {"lesion": 0.5})[1]["studies"][0]["id"]
    assert again in ids, json.dumps(sorted(ids))


def test_what_a_server_adds_is_measured_for_label_maps_too(client, server, zoo, tmp_path):
    [main] = functions(ROOT / "scripts" / "benchmark_serving.py")
    benchmark, bundle = sys.modules[main.__module__], zoo.parent / "bundles" / FROM_LABELS
    labels = benchmark.input_of(ServedBundle(bundle), tmp_path, 4.0)
    found = benchmark.measure(server.url, bundle, labels, turns=1)
    assert found["volume"] == benchmark.size_of(labels) and found["served_s"] > 0 and found["alone_s"] > 0
    assert "benchmark_scan" not in client.datastore()["objects"]
