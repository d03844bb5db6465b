"""Further tasks of a bundle on a server: a scan is segmented with names, gets a lesion, and is healed of it again."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("monailabel", reason="monailabel is not installed; docs/pins.md says how")

import nibabel as nib
from asking import voxels
from monailabel.client.client import MONAILabelClientException
from small_brain_tasks import NAME, small_bundle


@pytest.fixture(scope="module")
def client(client_over):
    return client_over(NAME, small_bundle, ann=("brain_flair", 1))


def test_the_server_says_what_each_task_takes(client):
    models = client.info()["models"]
    assert {f"{NAME}_segment", f"{NAME}_place", f"{NAME}_heal"} <= set(models)
    segment, place, heal = (models[f"{NAME}_{task}"] for task in ("segment", "place", "heal"))
    assert segment["type"] == "segmentation"
    assert segment["labels"]["white_matter"] == 3
    assert all(name.startswith("lesion") for name, value in segment["labels"].items() if value > 5)
    assert {"kind", "ml", "centre_mm"} <= set(place["synthzoo"]["options"])
    assert "source_tag" in heal["synthzoo"]["options"]
    assert heal["synthzoo"]["takes_mark"] and not place["synthzoo"]["takes_mark"]


def test_a_scan_is_segmented_gets_a_lesion_and_is_healed_of_it(client):
    path, params = client.infer(f"{NAME}_segment", "ann", {})
    assert set(np.unique(voxels(path))) == {0, 3}
    assert params["label_names"]["lesion_oedema"] == 6
    assert params["sidecar"]["labels"]["3"] == "white_matter"

    path, params = client.infer(f"{NAME}_place", "ann", {"kind": "stroke", "ml": 12, "centre_mm": "30 -20 30"})
    study = params["studies"][0]["id"]
    sick = voxels(path)
    stored = client.datastore()["objects"][study]
    assert stored["image"]["info"]["source"] == "ann"
    names = stored["labels"]["original"]["info"]["params"]["label_names"]
    assert names["lesion_stroke"] == 8

    path, params = client.infer(f"{NAME}_heal", study, {"source_tag": "original"})
    healed = nib.load(path)
    changed = np.asarray(healed.dataobj) != sick
    assert 5 < changed.sum() * 0.008 < 40
    assert params["sidecar"]["healed"]["marked_by"] == "the mask that was given"
    with pytest.raises(MONAILabelClientException, match="no label .*final.* that could be the mark: it has original"):
        client.infer(f"{NAME}_heal", study, {"source_tag": "final"})
    with pytest.raises(MONAILabelClientException, match="kind"):
        client.infer(f"{NAME}_place", "ann", {"kind": "abscess"})
