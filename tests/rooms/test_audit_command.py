"""The audit as typed: folders of any kind of image, the zoo's bundles and others', and a sentence for each mistake."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import nibabel as nib
import numpy as np
import psutil
import pytest
from bundle_runs import ROOT
from planted import draw, image_set, write_pngs

from synthzoo.bundle.index import read_metrics
from synthzoo.datasets.brain.label_slices import CONDITIONS
from synthzoo.errors import UserError
from synthzoo.evaluation.privacy.audit import audit
from synthzoo.evaluation.privacy.page import page
from synthzoo.evaluation.privacy.rows import Rows, nearest_rows
from synthzoo.evaluation.privacy.sets import folder_set
from synthzoo.io.files import write_json
from synthzoo.io.videos import write_avi
from synthzoo.metrics.reidentification import auc
from synthzoo.phantoms.brain.label_maps import CLASSES
from synthzoo.phantoms.brain.label_pool import MEASURED, SLICE_SHAPE
from synthzoo.phantoms.brain.painting import CONTRASTS
from synthzoo.phantoms.brain.pool import GRID
from synthzoo.phantoms.chest.phantom import chest_study
from synthzoo.phantoms.chest.pool import SPLITS
from synthzoo.serving.audit_sources import Source, instrument_for, request_lines
from synthzoo.serving.auditing import audit_bundle, audit_folders, publish, write_audit


def command(*words) -> subprocess.CompletedProcess:
    line = [sys.executable, str(ROOT / "scripts" / "audit.py"), *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, encoding="utf-8", timeout=280)


def write_volumes(folder, images) -> None:
    folder.mkdir()
    for number, image in enumerate(images):
        path = folder / f"sub-{number:03d}_T1w.nii.gz"
        nib.save(nib.Nifti1Image(image, np.diag([2.0, 2.0, 2.0, 1.0])), path)
    (folder / "preview.png").write_bytes(b"not looked at beside volumes")


@pytest.fixture(scope="module")
def pngs(tmp_path_factory):
    """Folders of training images, of a copier's samples and of unseen images."""
    folder = tmp_path_factory.mktemp("pngs")
    training = draw(0, 40, (24, 24))
    copies = training[:30] + 0.02 * np.random.default_rng(0).standard_normal((30, 24, 24))
    return {
        "training": write_pngs(folder / "training", training),
        "samples": write_pngs(folder / "made <b>", copies),
        "holdout": write_pngs(folder / "unseen", draw(1, 80, (24, 24))),
    }


def test_the_command_finds_a_copier_and_writes_json_and_a_page(pngs, tmp_path):
    words = [word for role, folder in pngs.items() for word in (f"--{role}", folder)]
    done = command(*words, "--out", tmp_path / "out")
    assert done.returncode == 3, done.stderr
    report = json.loads((tmp_path / "out" / "audit.json").read_text(encoding="utf-8"))
    assert report["schema_version"] == 1 and report["verdict"] == "leak"
    assert report["command"].endswith("--training training --holdout unseen --seed 0")
    assert str(tmp_path) not in json.dumps(report)
    assert {test["verdict"] for test in report["tests"]} <= {"pass", "not shown safe", "leak", None}
    shown = (tmp_path / "out" / "audit.html").read_text(encoding="utf-8")
    assert "Leak found" in shown and "What was not tested" in shown
    assert "made &lt;b&gt;" in shown and "made <b>" not in shown
    assert shown.count("data:image/png;base64,") == 2 * len(report["nearest_pairs"]) > 0
    assert not re.findall(r"(?:src|href)=\"(?!data:image/png)", shown) and "<script" not in shown
    assert all('alt="' in tag for tag in re.findall(r"<img [^>]*>", shown))


def test_pictures_are_left_out_on_request(pngs, tmp_path):
    found = audit_folders(pngs["samples"], pngs["training"], say=lambda line: None)
    write_audit(found, tmp_path, "mine", "command", pictures=False)
    shown = (tmp_path / "audit.html").read_text(encoding="utf-8")
    assert "<img" not in shown and "The pictures were left out" in shown


@pytest.mark.parametrize("kind", ["volume", "video"])
def test_folders_of_volumes_and_videos_are_read(kind, tmp_path):
    for name, seed, count in (("made", 4, 6), ("training", 5, 8)):
        if kind == "volume":
            write_volumes(tmp_path / name, draw(seed, count, (12, 14, 10)))
        else:
            (tmp_path / name).mkdir()
            for number, video in enumerate(draw(seed, count, (6, 32, 32))):
                write_avi(tmp_path / name / f"{number}.avi", np.uint8(np.clip(video * 60, 0, 255)), 10.0)
    found = audit_folders(tmp_path / "made", tmp_path / "training", say=lambda line: None)
    sets = found.report["sets"]
    assert sets["samples"]["kind"] == sets["training"]["kind"] == kind
    assert (sets["samples"]["images"], sets["training"]["images"]) == (6, 8)
    assert found.report["verdict"] == "not shown safe"


def test_a_flipped_header_is_no_other_image(tmp_path):
    image = draw(6, 1, (10, 12, 8))[0]
    for name, array, first in (("a", image, 2.0), ("b", image[::-1], -2.0)):
        (tmp_path / name).mkdir()
        nib.save(nib.Nifti1Image(array, np.diag([first, 2, 2, 1])), tmp_path / name / "scan.nii.gz")
    one, two = (folder_set(tmp_path / name, "samples").image(0) for name in "ab")
    assert np.array_equal(one, two)


def test_patients_are_found_in_names(tmp_path):
    write_volumes(tmp_path / "in", draw(7, 4, (8, 8, 8)))
    assert list(folder_set(tmp_path / "in", "training").patients) == ["sub-000", "sub-001", "sub-002", "sub-003"]
    assert set(folder_set(tmp_path / "in", "training", r"sub-0(0)").patients) == {"0"}
    for pattern, said in ((r"ses-\d+", "finds nothing in sub-000_T1w.nii.gz"), ("(", "no regular expression")):
        with pytest.raises(UserError, match=said):
            folder_set(tmp_path / "in", "training", pattern)


def test_what_cannot_be_read_is_left_out_and_counted(pngs, tmp_path):
    write_pngs(tmp_path / "mixed", draw(8, 5, (24, 24)))
    (tmp_path / "mixed" / "broken.png").write_bytes((tmp_path / "mixed" / "image-0000.png").read_bytes()[:60])
    write_pngs(tmp_path / "flat", np.ones((2, 24, 24), np.float32))
    found = audit_folders(tmp_path / "mixed", pngs["training"], say=lambda line: None).report
    assert found["sets"]["samples"]["images"] == 5 and found["sets"]["samples"]["not_read"] == 1
    assert any("broken.png" in note for note in found["notes"])
    with pytest.raises(UserError, match="none of the 2 images of flat can be used.*one shade"):
        audit_folders(tmp_path / "flat", pngs["training"], say=lambda line: None)


def test_every_mistake_of_the_command_is_a_sentence(pngs, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("no image", encoding="utf-8")
    write_volumes(tmp_path / "volumes", draw(9, 2, (8, 8, 8)))
    training = pngs["training"]
    for samples, known, said in (
        (tmp_path / "none", training, "none is no folder"),
        (tmp_path / "empty", training, "empty holds no image"),
        (tmp_path / "texts", training, "texts holds no image"),
        (training, training, "share files"),
        (pngs["samples"], training.parent, "share files"),
        (tmp_path / "volumes", training, "holds volumes.*images of one kind"),
    ):
        with pytest.raises(UserError, match=said):
            audit_folders(samples, known, say=lambda line: None)
    with pytest.raises(UserError, match="at least 2 training images"):
        audit_folders(pngs["samples"], write_pngs(tmp_path / "one", draw(1, 1)), say=lambda line: None)
    with pytest.raises(UserError, match="compares no two images"):
        audit_folders(pngs["samples"], training, identity="brain_mr_synthesis_ldm", root=ROOT)
    with pytest.raises(UserError, match="--seed"):
        audit_folders(pngs["samples"], training, seed=-1)
    with pytest.raises(UserError, match="takes pictures and videos, but these are volumes"):
        options = {"identity": "echo_us_privacy_audit_reid", "root": ROOT, "say": lambda line: None}
        audit_folders(tmp_path / "volumes", shutil.copytree(tmp_path / "volumes", tmp_path / "known"), **options)
    with pytest.raises(UserError, match="a.txt is a file: name a folder"):
        write_audit(None, tmp_path / "texts" / "a.txt", "mine", "command")
    with pytest.raises(UserError, match="not valid JSON"):
        audit_folders(pngs["samples"], training, criteria=tmp_path / "texts" / "a.txt")
    done = command("--samples", tmp_path / "empty")
    assert done.returncode == 1 and done.stderr.startswith("error: give --samples FOLDER --training FOLDER")


def test_mistakes_about_bundles_are_sentences(tmp_path):
    for bundle, options, said in (
        ("brain_mr_anomaly_map_manytasks", {}, "generates no images"),
        ("no_such_bundle", {}, "there is no bundle of this name"),
        ("brain_mr_synthesis_ldm", {"num_samples": 1}, "num_samples is 1"),
        ("brain_mr_synthesis_ldm", {"holdout_size": "x"}, "holdout_size is 'x'"),
        ("brain_mr_synthesis_ldm", {"training_size": 0}, "training_size is 0"),
        ("brain_mr_synthesis_ldm", {"seed": -1}, "--seed"),
    ):
        with pytest.raises(UserError, match=said):
            audit_bundle(bundle, root=ROOT, say=lambda line: None, **options)


def test_a_bundle_of_the_zoo_draws_its_training_set_again(tmp_path):
    options = {"num_samples": 2, "training_size": 12, "holdout_size": 12, "work_dir": tmp_path, "root": ROOT}
    found = audit_bundle("echo_us_cine_synthesis_jvid", say=lambda line: None, **options)
    report = write_audit(found, tmp_path / "out", "jvid", "python scripts/audit.py")
    assert report["phantoms"] and report["verdict"] != "leak"
    assert {test["space"] for test in report["tests"]} == {"pixels", "edges", "identity", "aligned"}
    assert any("12 of 3000 training images" in note for note in report["notes"])
    bundle = tmp_path / "bundle"
    publish(report, bundle)
    card = read_metrics(bundle, "privacy.json")
    assert card["tables"][0]["title"].startswith("Privacy audit: not shown safe; 2 samples, 12 training images")


def test_the_training_set_that_is_drawn_again_is_the_configs_own():
    counts = {}
    for name in ("brain_mr_synthesis_ldm", "echo_us_cine_synthesis_jvid", "echo_us_counterfactual_twin"):
        source = Source(ROOT / "bundles" / name)
        counts[name] = len(source.rows("train"))
        first, unseen = (source.rows(split, 2)[0] for split in ("train", "validation"))
        key = "video" if "video" in first else "image"
        assert first[key].shape == unseen[key].shape and not np.allclose(first[key], unseen[key])
    assert counts == {
        "brain_mr_synthesis_ldm": 5400,
        "echo_us_cine_synthesis_jvid": 3000,
        "echo_us_counterfactual_twin": 3000,
    }


def test_what_an_anomaly_map_was_trained_on_is_no_set_of_whole_images():
    with pytest.raises(UserError, match="name no data set that can be drawn again"):
        Source(ROOT / "bundles" / "brain_mr_anomaly_map_manytasks")


def test_few_training_patients_of_a_pool_are_compared_with_all_its_unseen_ones(tmp_path):
    data = {"_target_": "x", "data_format": "phantom", "size": 32, "patients": 1}
    data["phantom"] = {"patients": 16, "studies": 1}
    write_json(tmp_path / "configs" / "metadata.json", {"version": "0.1.0"})
    write_json(tmp_path / "configs" / "inference.json", {"network_def": {}})
    write_json(tmp_path / "configs" / "train.json", {"train": {"dataset": data}})
    source = Source(tmp_path, str(tmp_path / "pool"))
    training, unseen = source.rows("train", 50), source.rows("validation", 50)
    assert len(set(training.owners)) == 1 and len(set(unseen.owners)) > 1
    assert not set(training.owners) & set(unseen.owners)


def test_slices_of_a_label_pool_are_painted_in_one_contrast_and_their_requests_kept(tmp_path):
    data = {"_target_": "x", "data_format": "phantom", "contrasts": ["T1w", "T2w"], "subjects": 2, "slices": 3}
    write_json(tmp_path / "configs" / "metadata.json", {"version": "0.1.0"})
    write_json(tmp_path / "configs" / "inference.json", {"network_def": {}, "style": "T2w"})
    write_json(tmp_path / "configs" / "train.json", {"train": {"dataset": data}})
    rows = Source(tmp_path, str(tmp_path / "pool")).rows("train")
    assert rows.owners == [0, 0, 0, 1, 1, 1] and rows[4]["image"].shape == (1, *SLICE_SHAPE)
    assert {rows[row]["contrast"] for row in range(6)} == {CONTRASTS.index("T2w")}
    bounds = {name: {"minimum": 0, "maximum": 0.5} for name in CONDITIONS}
    header, *lines = request_lines(rows, 4, 0, bounds)
    values = np.array([[float(cell) for cell in line.split("\t")] for line in lines])
    assert header.split("\t") == list(CONDITIONS) and values.shape == (4, 7) and values.max() == 0.5
    assert request_lines(rows, 4, 0, bounds) == [header, *lines]


def test_volumes_of_a_label_pool_come_with_their_mirror_images(tmp_path):
    data = {"_target_": "x", "data_format": "phantom", "dims": 3, "contrasts": ["T1w", "T2w"], "subjects": 1}
    write_json(tmp_path / "configs" / "metadata.json", {"version": "0.1.0"})
    write_json(tmp_path / "configs" / "inference.json", {"network_def": {}, "style": "T2w"})
    write_json(tmp_path / "configs" / "train.json", {"train": {"dataset": data}})
    rows = Source(tmp_path, str(tmp_path / "pool")).rows("train")
    one, other = rows[0], rows[1]
    assert rows.owners == [0, 0] and one["image"].shape == (1, *GRID)
    assert one["contrast"] == other["contrast"] == CONTRASTS.index("T2w")
    assert (one["labels"] == other["labels"].flip(1)).all() and not (one["labels"] == other["labels"]).all()
    assert len(request_lines(rows, 3, 0, {name: {"minimum": 0, "maximum": 90} for name in MEASURED})) == 4


def test_the_instrument_of_a_domain_is_found_by_its_name():
    assert instrument_for("echo_us_cine_synthesis_ldm", ROOT).instrument == "echo_us_privacy_audit_reid"
    assert instrument_for("brain_mr_synthesis_ldm", ROOT).instrument == "brain_mr"
    assert instrument_for("garments_rgb_classification_semivit", ROOT) is None
    assert instrument_for("chest_xr_synthesis_of_tomorrow", ROOT).instrument == "chest_xr"


def test_folders_of_radiographs_are_compared_by_the_chest_instrument_too(pngs, tmp_path):
    sets = (pngs["samples"], pngs["training"], pngs["holdout"])
    found = audit_folders(*sets, identity="chest_xr", root=ROOT, say=lambda line: None).report
    judged = {test["test"]: test["verdict"] for test in found["tests"] if test["space"] == "identity"}
    assert judged["nearest"] == "leak" and {"copies", "link"} <= set(judged)
    assert not any("no re-identification network" in line for line in found["not_tested"])
    for name, seed in (("made", 4), ("known", 5)):
        write_volumes(tmp_path / name, draw(seed, 3, (8, 8, 8)))
    with pytest.raises(UserError, match="--identity chest_xr takes pictures, but these are volumes: leave it out"):
        audit_folders(tmp_path / "made", tmp_path / "known", identity="chest_xr", root=ROOT, say=lambda line: None)


def test_the_chest_instrument_knows_a_patient_on_another_day_at_any_size_and_range():
    first = SPLITS["TEST"][0] + 95_100  # no patient of a stated figure
    days = [[chest_study(first + n, visit, [], size=64).image for n in range(6)] for visit in range(2)]
    space = instrument_for("chest_xr", ROOT)
    known = space.embed(np.zeros(0), days[0], ())
    other = [np.kron(100 * image + 7, np.ones((2, 2))).astype(np.float32) for image in days[1]]
    distances = space.compare(space.embed(np.zeros(0), other, ()), known)
    own = np.eye(6, dtype=bool)
    assert distances.shape == (6, 6) and (distances > 0).all()
    assert auc(-distances[own], -distances[~own]) > 0.8


STOCK = {
    "imports": ["$import torch"],
    "output_dir": "out",
    "image": "$torch.rand(1, 12, 12, 12)",
    "saver": {"_target_": "SaveImage", "output_dir": "@output_dir", "output_postfix": "made", "print_log": False},
    "run": ["$@saver(@image)"],
}


def test_a_stock_generative_bundle_is_run_as_it_stands(tmp_path):
    bundle = tmp_path / "stock"
    (bundle / "configs").mkdir(parents=True)
    write_json(bundle / "configs" / "metadata.json", {"version": "0.1.0"})
    write_json(bundle / "configs" / "inference.json", STOCK)
    write_volumes(tmp_path / "training", draw(10, 6, (12, 12, 12)))
    with pytest.raises(UserError, match="does not say on which images it was trained: give --training FOLDER"):
        audit_bundle(bundle, num_samples=2)
    options = {"num_samples": 2, "training": tmp_path / "training", "work_dir": tmp_path, "say": lambda line: None}
    assert audit_bundle(bundle, **options).report["sets"]["samples"]["images"] == 2
    write_json(bundle / "configs" / "inference.json", {**STOCK, "run": ["$1 / 0"]})
    with pytest.raises(UserError, match="gave no image.*give --samples FOLDER --training FOLDER"):
        audit_bundle(bundle, **{**options, "work_dir": tmp_path / "again"})
    write_json(bundle / "configs" / "inference.json", {**STOCK, "run": ["$__import__('os').system('ls')"]})
    with pytest.raises(UserError, match="inspect_bundle.py refuses this bundle"):
        audit_bundle(bundle, **{**options, "work_dir": tmp_path / "again"})


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    process = psutil.Process()

    def peak_of(count: int) -> int:
        rows = Rows(tmp_path / f"{count}", 256)
        for _ in range(0, count, 1000):
            rows.append(np.random.default_rng(count).standard_normal((1000, 256)).astype(np.float32))
        query = Rows(tmp_path / f"{count}q", 256)
        query.append(rows.read(0, 50))
        assert (nearest_rows([query], [rows], 1).distances < 0.01).all()
        return process.memory_info().rss

    small = peak_of(2000)
    assert peak_of(60_000) - small < 30e6, "60,000 rows are 61 MB: they are read in blocks"


def test_the_page_needs_no_holdout_and_no_remarks():
    found = audit(image_set("made", draw(11, 8)), image_set("training", draw(12, 8)))
    shown = page({**found.report, "notes": []}, found.pairs, "<x>")
    assert "Not shown safe" in shown and "&lt;x&gt;" in shown and "<x>" not in shown


def test_brains_to_translate_are_scans_of_the_source_whose_rows_show_the_target(tmp_path):
    data = {"_target_": "x", "data_format": "phantom", "targets": ["T1w"], "subjects": 1, "slices": 3}
    write_json(tmp_path / "configs" / "metadata.json", {"version": "0.1.0"})
    write_json(tmp_path / "configs" / "inference.json", {"network_def": {}, "source": "FLAIR", "target": "T1w"})
    write_json(tmp_path / "configs" / "train.json", {"train": {"dataset": data}})
    rows = Source(tmp_path, str(tmp_path / "pool")).rows("train")
    assert rows.owners == [0, 0] and rows[1]["contrast"] == CONTRASTS.index("T1w")
    scan, own = rows.scan(1), rows[1]["image"][0].numpy()
    assert scan.shape == GRID and ((scan > 0) == (own > 0)).all()
    grey, white = (rows[1]["labels"][CLASSES.index(tissue)].numpy() > 0.9 for tissue in ("GM", "WM"))
    assert own[white].mean() > own[grey].mean() + 0.1 and scan[white].mean() < scan[grey].mean() - 0.05
