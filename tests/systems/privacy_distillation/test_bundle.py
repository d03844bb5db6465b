"""What the shipped student does: it was not given a private radiograph, and shows what is requested."""

import json

import numpy as np
import pytest
import torch
from bundle_runs import ROOT
from PIL import Image

from synthzoo.bundle.compose import run_bundle
from synthzoo.bundle.find import read_json
from synthzoo.instruments.chest.heart import measure_ctr

BUNDLE = ROOT / "bundles" / "chest_xr_privacy_distillation"
COUNT = 12


@pytest.fixture(scope="module")
def requested(tmp_path_factory):
    """Radiographs (N, 1, S, S) of the same seeds with and without an enlarged heart, and a sidecar."""
    found, record = {}, {}
    for state in ("absent", "present"):
        out = tmp_path_factory.mktemp(state)
        changed = {"output_dir": str(out), "num_samples": COUNT, "cardiomegaly": state, "sex": "F"}
        run_bundle(BUNDLE, overrides=changed)
        paths = sorted(out.glob("sub-*/*_cxr.png"))
        images = np.stack([np.asarray(Image.open(path), np.float32) / 65535 for path in paths])
        found[state] = torch.from_numpy(images)[:, None]
        record = json.loads(paths[0].with_suffix(".json").read_text())
    return found, record


def test_an_enlarged_heart_is_wider_where_it_is_requested(requested):
    images, _ = requested
    ratios = {state: measure_ctr(made) for state, made in images.items()}
    print({state: float(np.mean(values)) for state, values in ratios.items()})
    assert np.mean(ratios["present"]) > np.mean(ratios["absent"]) + 0.01


def test_a_sidecar_says_what_was_requested_and_that_no_person_is_shown(requested):
    _, record = requested
    assert record["Synthetic"] is True and record["requested"]["cardiomegaly"] == "present"
    assert record["requested"]["sex"] == "F" and "not of a person" in json.dumps(record)


def test_the_report_has_the_students_ratio_beside_floor_teacher_and_control_by_judges_that_filtered_nothing():
    figures = read_json(BUNDLE / "docs" / "metrics.json")["figures"]
    for judge in ("second", "instrument"):
        for name in ("unseen", "teacher", "kept", "student", "control"):
            assert 0 <= figures[f"r_{name}_{judge}"] <= 1
    assert {"kept_share", "kept_share_f", "kept_share_m", "auroc_teacher", "auroc_student"} <= set(figures)
