"""The tasks of a prior on a server: a marked scan is filled, and another study of the datastore is gone to."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("monailabel", reason="monailabel is not installed; docs/pins.md says how")

import nibabel as nib
from asking import voxels
from bundle_runs import ROOT
from monailabel.client.client import MONAILabelClientException

from synthzoo.io.nifti import write_nifti

NAME = "brain_mr_synthesis_ldm"


def copied(folder: Path) -> Path:
    """The shipped bundle, configs and weights."""
    for part in ("configs", "models"):
        shutil.copytree(ROOT / "bundles" / NAME / part, folder / NAME / part)
    return folder / NAME


@pytest.fixture(scope="module")
def client(client_over):
    return client_over(NAME, copied, ann=("brain_t1w", 1), eve=("brain_t1w", 2))


def test_the_server_says_what_each_task_takes(client):
    models = client.info()["models"]
    takes = {task: models[f"{NAME}_{task}"]["synthzoo"] for task in ("inpaint", "denoise", "reconstruct", "edit")}
    assert [task for task, said in takes.items() if said["takes_mark"]] == ["inpaint"]
    assert all(said["needs_images"] for said in takes.values())
    other = models[f"{NAME}_interpolate"]["synthzoo"]["options"]["other"]
    assert other["format"] == "image" and other["examples"] == ["example"]


def test_what_a_stored_label_marks_is_filled(client, tmp_path):
    few = {"steps": 1, "draws": 1, "source_tag": "final"}
    with pytest.raises(MONAILabelClientException, match="on a server source_tag"):
        client.infer(f"{NAME}_inpaint", "ann", {**few, "source_tag": ""})
    with pytest.raises(MONAILabelClientException, match="no label .*final.* that could be the mark: it has none"):
        client.infer(f"{NAME}_inpaint", "ann", few)
    path, _ = client.infer(f"{NAME}_denoise", "ann", {"noise": 0.02, "store": False})
    scan = nib.load(path)
    mark = np.zeros(scan.shape, np.uint8)
    mark[14:20, 24:30, 24:30] = 1
    write_nifti(tmp_path / "mark.nii.gz", mark, scan.affine)
    client.save_label("ann", str(tmp_path / "mark.nii.gz"), tag="final")
    made, params = client.infer(f"{NAME}_inpaint", "ann", few)
    settings = params["studies"][0]["sidecar"]["settings"]
    assert settings["marks"] and settings["draws"] == 1
    stored = client.datastore()["objects"][params["studies"][0]["id"]]
    assert stored["image"]["info"]["source"] == "ann"
    whole = voxels(client.infer(f"{NAME}_inpaint", "ann", {**few, "result": "label"})[0])
    assert np.array_equal(whole > 0, mark > 0) and voxels(made).shape == mark.shape


def test_another_study_is_gone_to_by_its_id(client):
    asked = {"steps": 2, "share": 1.0, "store": False}
    found = {
        other: client.infer(f"{NAME}_interpolate", "ann", {**asked, "other": other}) for other in ("eve", "example")
    }
    settings = {other: params["studies"][0]["sidecar"]["settings"]["other"] for other, (_, params) in found.items()}
    assert settings["eve"]["name"] == "eve.nii.gz" and settings["example"] == "example"
    eve, example = (voxels(path) for path, _ in found.values())
    assert np.abs(eve - example).mean() > 0.01
    with pytest.raises(MONAILabelClientException, match="or the id of an image of the datastore"):
        client.infer(f"{NAME}_interpolate", "ann", {**asked, "other": "adam"})
    with pytest.raises(MONAILabelClientException, match="takes no path"):
        client.infer(f"{NAME}_interpolate", "ann", {**asked, "other": "/etc/hostname"})
