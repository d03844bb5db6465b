"""The paper's claim on phantoms: re-identification finds the training videos that a generator repeats and the videos
that change their patient, and leaves videos of new patients alone."""

import json

import numpy as np
import pytest
from bundle_runs import ROOT
from echo_export import export_phantoms, phantom_name

from synthzoo.bundle.compose import run_bundle
from synthzoo.errors import find_user_error
from synthzoo.io.videos import read_video, write_avi
from synthzoo.phantoms.echo.sets import list_videos

BUNDLE = ROOT / "bundles" / "echo_us_privacy_audit_reid"


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    """A data set in EchoNet's layout: 40 patients for training and 40 that the generator never saw."""
    videos = list_videos("tiny", "TRAIN", 40) + list_videos("tiny", "TEST", 40)
    return export_phantoms(tmp_path_factory.mktemp("echonet"), "tiny", videos)


def video_of(training, patient):
    return read_video(training / "Videos" / f"{phantom_name(patient, 0, 0)}.avi")


def audit(folder, training, output_dir, **more):
    run_bundle(
        BUNDLE, overrides={"images": str(folder), "training_dir": str(training), "output_dir": str(output_dir)} | more
    )
    return {path.parent.name: json.loads(path.read_text()) for path in output_dir.glob("*/*_reid.json")}


def test_copies_and_changes_of_patient_are_found_and_new_patients_are_not(training, tmp_path):
    generated, rng = tmp_path / "generated", np.random.default_rng(0)
    for patient in range(5):
        noisy = video_of(training, patient).frames + 0.05 * 60 * rng.standard_normal((16, 32, 32))
        write_avi(generated / f"copy{patient}.avi", np.clip(noisy, 0, 255).astype(np.uint8), 16)
    a, b = (video_of(training, patient).frames for patient in (11, 12))
    write_avi(generated / "switch.avi", np.concatenate([a[:9], b[9:]]), 16)
    export_phantoms(tmp_path / "new", "tiny", list_videos("tiny", "VAL", 5))
    for path in (tmp_path / "new" / "Videos").iterdir():
        path.rename(generated / f"new_{path.name}")
    found = audit(generated, training, tmp_path / "out")
    for patient in range(5):
        record = found[f"copy{patient}"]
        assert record["memorised"] and record["nearest_video"] == phantom_name(patient, 0, 0)
        assert record["identity_break"] is None
    assert found["switch"]["identity_break"] == 9
    owners = [part["nearest_video"] for part in found["switch"]["parts"]]
    assert owners == [phantom_name(patient, 0, 0) for patient in (11, 12)] and found["switch"]["memorised"]
    new = [record for case, record in found.items() if case.startswith("new")]
    assert sum(record["memorised"] for record in new) <= 1 and not any(record["identity_break"] for record in new)
    summary = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert summary["videos"] == 11 and summary["training"]["videos"] == 40 and summary["identity_breaks"] == 1
    assert str(tmp_path) not in (tmp_path / "out" / "copy0" / "copy0_reid.json").read_text()
    for name in ("audit.tsv", "audit.png"):
        assert (tmp_path / "out" / name).stat().st_size > 100


def test_training_videos_without_unseen_ones_ask_for_a_threshold_and_take_it(training, tmp_path):
    videos = training / "Videos"
    images = str(videos / f"{phantom_name(3, 0, 0)}.avi")
    with pytest.raises(Exception) as caught:
        audit(images, videos, tmp_path / "out")
    assert "give a folder with videos of patients that the generator never saw" in str(find_user_error(caught.value))
    assert not (tmp_path / "out").exists()
    record = next(iter(audit(images, videos, tmp_path / "out", threshold=0.0).values()))
    assert record["memorised"] and record["threshold"] == 0
