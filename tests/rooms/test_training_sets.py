"""A labelled data set is ready for those that train: nnU-Net's layout, BIDS without an error, Croissant that loads."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("SimpleITK")

from bundle_runs import digests
from nnunet_rules import check_nnunet

from synthzoo.cases.requests import RequestTable
from synthzoo.errors import UserError
from synthzoo.io.files import write_json
from synthzoo.io.marks import read_mark
from synthzoo.results.dataset_files import unknown_to_bids
from synthzoo.results.finalize import FinalizeDataset
from synthzoo.results.nnunet import label_entries, place
from synthzoo.results.save import SaveResult
from synthzoo.serving.generation import _write_texts, generate_dataset

COUNT = 8
ML = {"type": "number", "minimum": 0, "maximum": 60, "unit": "mL", "description": "volume"}
NAMES = {"GM": 1, "lesion core": 2, "lesion oedema": 3}
CONTRASTS = ["T1w", "FLAIR", "ce-gadolinium_T1w", "PDw"]  # of T1w, FLAIR, T1Gd and PD
SETTINGS = {"WMH_ml": "1,30", "dataset#noise_shape": [1, 16, 20, 12]}
BALANCE = "WMH_ml,core_ml+oedema_ml"
PLACES = "nnUNet_raw/Dataset501_brain_mr_synthesis_labelled"


@pytest.fixture(scope="module")
def labelled(skeleton, tmp_path_factory) -> Path:
    """A synthesis bundle that gives four contrasts and a label map of each brain, and takes the mL of pathologies."""
    bundle = tmp_path_factory.mktemp("bundles") / "brain_mr_synthesis_labelled"
    shutil.copytree(skeleton, bundle)
    config = json.loads((bundle / "configs" / "inference.json").read_text())
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    conditions = dict.fromkeys(("WMH_ml", "core_ml", "oedema_ml"), ML)
    config |= dict.fromkeys(conditions)
    config["dataset"] |= {
        "bundle": bundle.name,
        "conditions": {**config["dataset"]["conditions"], **conditions},
        "values": {name: f"@{name}" for name in ("age", *conditions)},
    }
    outputs = {"pred": "T1w.nii.gz", "flair": "FLAIR.nii.gz", "gd": "T1Gd.nii.gz", "pd": "PD.nii.gz"}
    parts = "$lambda x: sum((x > x.quantile(q)).float() for q in (0.5, 0.9, 0.97))"
    steps = config["postprocessing"]["transforms"]
    steps[-1:] = [
        {"_target_": "CopyItemsd", "keys": "pred", "names": [*list(outputs)[1:], "dseg"], "times": 4},
        {"_target_": "Lambdad", "keys": "flair", "func": "$lambda x: 1 - x"},
        {"_target_": "Lambdad", "keys": "dseg", "func": parts},
        steps[-1] | {"outputs": {**outputs, "dseg": "dseg.nii.gz"}},
    ]
    label = {"suffix": "dseg.nii.gz", "description": "parts of the brain", "names": NAMES}
    metadata["synthzoo"]["conditions"] |= conditions
    metadata["synthzoo"]["outputs"]["label"] = label | {"regions": {"lesion": ["lesion core", "lesion oedema"]}}
    write_json(bundle / "configs" / "inference.json", config)
    write_json(bundle / "configs" / "metadata.json", metadata)
    return bundle


@pytest.fixture(scope="module")
def made(labelled, tmp_path_factory) -> Path:
    """One command's data set."""
    folder = tmp_path_factory.mktemp("made") / "ds"
    return fill(labelled, folder, COUNT)


def fill(bundle, folder, count, **kwargs) -> Path:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "1700000000")
        generate_dataset(bundle, folder, count, seed=4, settings=dict(SETTINGS), balance=BALANCE, **kwargs)
    torch.set_num_threads(threads)
    return folder


def rows(path: Path) -> list[dict]:
    return list(csv.DictReader(path.read_text().splitlines(), delimiter="\t"))


# --- what one command leaves -----------------------------------------------------------------------------------------


def test_nnunet_finds_a_data_set_that_it_accepts(made):
    described = check_nnunet(made / PLACES)
    assert list(described["channel_names"].values()) == CONTRASTS
    assert described["labels"] == {"background": 0, "lesion": [2, 3], "GM": 1, "lesion oedema": 3}
    assert described["regions_class_order"] == [2, 1, 3]
    assert described["numTraining"] == COUNT and described["file_ending"] == ".nii.gz"
    assert "Apache" in described["licence"] and described["Synthetic"] is True


def test_nnunet_itself_verifies_it(made):
    verify = pytest.importorskip("nnunetv2.experiment_planning.verify_dataset_integrity", reason="pip install nnunetv2")
    verify.verify_dataset_integrity(str(made / PLACES), 1)


def test_images_and_labels_of_nnunet_are_the_same_files(made):
    subject, folder = made / "sub-0003" / "anat", made / PLACES
    for number, contrast in enumerate(CONTRASTS):
        image = subject / f"sub-0003_{contrast}.nii.gz"
        assert os.path.samefile(image, folder / "imagesTr" / f"sub-0003_{number:04d}.nii.gz")
    label = made / "derivatives" / "brain_mr_synthesis_labelled" / "sub-0003" / "anat" / "sub-0003_dseg.nii.gz"
    assert os.path.samefile(label, folder / "labelsTr" / "sub-0003.nii.gz")


def test_the_requests_are_balanced_and_stand_in_participants(made):
    found = rows(made / "participants.tsv")
    present = [tuple(float(row[name]) > 0 for name in ("WMH_ml", "core_ml", "oedema_ml")) for row in found]
    assert sorted(present) == sorted(2 * [(a, b, b) for a in (False, True) for b in (False, True)])


def bids_errors(folder, tmp_path, *words) -> tuple[list, dict]:
    """The errors that the validator of BIDS finds in a data set, and its summary."""
    program = Path(sys.executable).parent / "bids-validator-deno"
    if not program.is_file():
        pytest.skip("pip install bids-validator-deno")
    command = [program, folder, *words, "--json", "--outfile", tmp_path / "said.json"]
    subprocess.run(list(map(str, command)), capture_output=True, timeout=120)
    said = json.loads((tmp_path / "said.json").read_text())
    sets = [said, *(said.get("derivativesSummary") or {}).values()]
    issues = [issue for part in sets for issue in part["issues"]["issues"]]
    assert len(sets) == 1 + len(words)
    return [issue for issue in issues if issue["severity"] == "error"], said["summary"]


def test_bids_validator_finds_no_error(made, tmp_path):
    errors, summary = bids_errors(made, tmp_path, "--recursive")
    assert not errors and len(summary["subjects"]) == COUNT and summary["totalFiles"] > 5 * COUNT
    (made / "sub-0001" / "anat" / "sub-0001_T1Gd.nii.gz").write_bytes(b"of no name that BIDS knows")
    errors, _ = bids_errors(made, tmp_path)
    (made / "sub-0001" / "anat" / "sub-0001_T1Gd.nii.gz").unlink()
    assert errors, "the validator looks at the files"


def test_bids_validator_passes_over_pictures_and_ultrasound(tmp_path):
    out = tmp_path / "ds"
    names = {"pred": "T1w.nii.gz", "other": "sketch.nii.gz"}
    FinalizeDataset(written(out, names, spacing_mm=2.0))()
    FinalizeDataset(written(out, {"pred": "slice.png", "dseg": "dseg.png"}, shape=(1, 16, 12)))()
    (out / "sub-0001" / "us").mkdir()
    (out / "sub-0001" / "us" / "sub-0001_echo.avi").write_bytes(b"video")
    _write_texts(out, {}, "b", unknown_to_bids([*names.values(), "slice.png"], "anat"))
    errors, _ = bids_errors(out, tmp_path)
    assert not errors
    lines = (out / ".bidsignore").read_text()
    _write_texts(out, {}, "b", ["sub-*/anat/*_new.png"])
    assert (out / ".bidsignore").read_text() == f"{lines}sub-*/anat/*_new.png\n"


def test_croissant_loads_and_its_records_are_those_of_the_files(made):
    croissant = pytest.importorskip("mlcroissant")
    dataset = croissant.Dataset(jsonld=str(made / "croissant.json"))
    assert not dataset.metadata.ctx.issues.errors
    assert "Apache-2.0" in str(dataset.metadata.license) and "brain_mr_synthesis_labelled" in dataset.metadata.cite_as
    found = rows(made / "participants.tsv")
    read = list(dataset.records("participants"))
    assert [row["participants/participant_id"].decode() for row in read] == [row["participant_id"] for row in found]
    for name in ("age", "WMH_ml"):
        stated = [None if row[name] == "n/a" else float(row[name]) for row in found]
        assert [row[f"participants/{name}"] for row in read] == stated
    assert [row["participants/seed"] for row in read] == [int(row["seed"]) for row in found]
    for part, count in (("images", 4 * COUNT), ("labels", COUNT)):
        records = list(dataset.records(part))
        assert len(records) == count
        for record in records:
            path = made / record[f"{part}/path"].decode()
            assert hashlib.sha256(path.read_bytes()).hexdigest() == record[f"{part}/sha256"].decode()
            assert path.stat().st_size == record[f"{part}/bytes"]
            assert path.name.startswith(record[f"{part}/participant_id"].decode())
    names = {row["label_names/value"]: row["label_names/name"] for row in dataset.records("label_names")}
    assert {value: text.decode() if isinstance(text, bytes) else text for value, text in names.items()} == {
        value: name for name, value in NAMES.items()
    }


def test_croissant_names_every_file_once_with_its_checksum(made):
    said = json.loads((made / "croissant.json").read_text())
    single = {part["contentUrl"]: part for part in said["distribution"] if part["@type"] == "cr:FileObject"}
    assert {"participants.tsv", "code/requests.tsv", f"{PLACES}/dataset.json"} < set(single)
    for path, part in single.items():
        assert hashlib.sha256((made / path).read_bytes()).hexdigest() == part["sha256"]
    sets = {part["@id"]: part for part in said["distribution"] if part["@type"] == "cr:FileSet"}
    matched = [path for pattern in sets["image-files"]["includes"] for path in made.glob(pattern)]
    assert {path.name for path in matched} == {path.name for path in made.glob("sub-*/anat/*.nii.gz")}
    (pattern,) = sets["label-files"]["includes"]
    assert len(list(made.glob(pattern))) == COUNT
    assert said["datePublished"] == "2023-11-14" and said["digitalSourceType"].endswith("DigitalSource")


def test_label_values_have_their_names_in_bids_too(made):
    (path,) = (made / "derivatives").rglob("dseg.tsv")
    assert {row["name"]: int(row["index"]) for row in rows(path)} == NAMES


# --- kills, extensions, changes --------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
from synthzoo.results import nnunet
from synthzoo.serving.generation import generate_dataset

bundle, out, count, after = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
placed, place = [], nnunet.place

def place_and_count(source, target):
    place(source, target)
    placed.append(target)
    if len(placed) == after:
        os.kill(os.getpid(), signal.SIGKILL)

nnunet.place = place_and_count
generate_dataset(bundle, out, count, seed=4, settings=SETTINGS, balance=BALANCE)
"""


@pytest.mark.timeout(600)
def test_a_kill_while_the_layout_grows_loses_nothing_and_doubles_nothing(labelled, made, tmp_path):
    """A smaller set that is extended, killed between two of nnU-Net's files, and started again."""
    out = fill(labelled, tmp_path / "ds", COUNT - 3)
    assert check_nnunet(out / PLACES)["numTraining"] == COUNT - 3
    script = KILLED.replace("SETTINGS", repr(SETTINGS)).replace("BALANCE", repr(BALANCE))
    env = os.environ | {"SOURCE_DATE_EPOCH": "1700000000", "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", script, str(labelled), str(out), str(COUNT), "7"]
    killed = subprocess.run(words, env=env, capture_output=True, text=True, timeout=300)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (out / PLACES / "dataset.json").exists(), "nnU-Net reads no folder that is half done"
    assert len(list((out / PLACES / "imagesTr").glob("sub-*"))) == 4 * (COUNT - 3) + 6
    (out / PLACES / "imagesTr" / ".tmp1_sub-0007_0003.nii.gz").write_bytes(b"half")
    fill(labelled, out, COUNT)
    assert digests(out) == digests(made)


def test_started_again_it_writes_no_image_again(labelled, made):
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*.nii.gz")}
    kept = digests(made)
    fill(labelled, made, COUNT)
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*.nii.gz")} == before and digests(made) == kept


def test_another_number_renames_the_folder_of_nnunet(labelled, made, tmp_path):
    out = tmp_path / "ds"
    shutil.copytree(made, out)
    fill(labelled, out, COUNT, dataset_id=7)
    assert [path.name for path in (out / "nnUNet_raw").iterdir()] == ["Dataset007_brain_mr_synthesis_labelled"]
    assert check_nnunet(next((out / "nnUNet_raw").iterdir()))["numTraining"] == COUNT


# --- any results that hold images and label maps ---------------------------------------------------------------------


def written(folder, outputs, count=2, bundle="b", shape=(1, 6, 5, 4), labels=None, **settings):
    """A table of cases whose label maps hold `labels`, or 0, 2 and 7, each written but not finished."""
    where = {"output_dir": folder, "folder": "anat", "bundle": bundle, "suffix": next(iter(outputs.values()))}
    table = RequestTable({}, num_samples=count, noise_shape=shape, **where)
    save = SaveResult(table, outputs=outputs, sidecar_keys=["labels"], **settings)
    for index in range(len(table)):
        item = table[index]
        noise = item["image"].sigmoid()
        dseg = 2.0 * (noise > 0.45) + 5.0 * (noise > 0.55)
        save({**item, "pred": noise, "other": 1 - noise, "dseg": dseg, **({"labels": labels} if labels else {})})
    return table


NIFTI = {"pred": "T1w.nii.gz", "other": "T2w.nii.gz", "dseg": "dseg.nii.gz"}


def test_values_that_are_not_consecutive_are_numbered_on_the_same_grid(tmp_path):
    table = written(tmp_path, NIFTI, labels={"2": "low", "7": "background"}, spacing_mm=[2, 2, 3])
    FinalizeDataset(table)()
    folder = tmp_path / "nnUNet_raw" / "Dataset501_b"
    assert check_nnunet(folder)["labels"] == {"background": 0, "low": 1, "background 7": 2}
    import nibabel as nib

    source, label = nib.load(table.path("sub-0001", "dseg.nii.gz")), nib.load(folder / "labelsTr" / "sub-0001.nii.gz")
    assert np.array_equal(np.asarray(label.dataobj), np.searchsorted([0, 2, 7], np.asarray(source.dataobj)))
    assert np.array_equal(label.affine, source.affine)
    assert read_mark(table.path("sub-0001", "dseg.nii.gz")) == read_mark(folder / "labelsTr" / "sub-0001.nii.gz")
    before = (folder / "labelsTr" / "sub-0001.nii.gz").stat().st_mtime_ns
    FinalizeDataset(table)()
    assert (folder / "labelsTr" / "sub-0001.nii.gz").stat().st_mtime_ns == before


def test_flat_images_and_values_without_names_are_taken_too(tmp_path):
    outputs = {"pred": "slice.png", "dseg": "dseg.png"}
    FinalizeDataset(written(tmp_path, outputs, shape=(1, 16, 12)))()
    described = check_nnunet(tmp_path / "nnUNet_raw" / "Dataset501_b")
    assert described["file_ending"] == ".png" and described["channel_names"] == {"0": "slice"}
    assert described["labels"] == {"background": 0, "label 2": 1, "label 7": 2}


def test_images_without_label_maps_get_croissant_alone(tmp_path):
    FinalizeDataset(written(tmp_path, {"pred": "T1w.nii.gz"}, spacing_mm=2.0))()
    assert not (tmp_path / "nnUNet_raw").exists()
    said = json.loads((tmp_path / "croissant.json").read_text())
    assert [record["@id"] for record in said["recordSet"]] == ["participants", "images"]


def test_where_no_hard_link_can_be_made_the_bytes_are_copied(tmp_path, monkeypatch):
    def no_link(source, target):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_link)
    table = written(tmp_path, NIFTI, labels={"2": "low", "7": "high"}, spacing_mm=2.0)
    FinalizeDataset(table)()
    image = tmp_path / "nnUNet_raw" / "Dataset501_b" / "imagesTr" / "sub-0001_0001.nii.gz"
    source = table.path("sub-0001", "T2w.nii.gz")
    assert not os.path.samefile(image, source) and image.read_bytes() == source.read_bytes()


def test_a_link_that_a_killed_process_left_is_never_written_through(tmp_path):
    source, other, target = tmp_path / "a.nii.gz", tmp_path / "b.nii.gz", tmp_path / "n" / "c.nii.gz"
    source.write_bytes(b"one")
    other.write_bytes(b"two")
    place(source, target)
    place(other, target)
    assert source.read_bytes() == b"one" and target.read_bytes() == b"two" and len(list(target.parent.iterdir())) == 1


def test_a_case_that_is_gone_leaves_the_layout_and_one_that_changed_is_placed_again(tmp_path):
    table = written(tmp_path, NIFTI, count=3, labels={"2": "low", "7": "high"}, spacing_mm=2.0)
    FinalizeDataset(table)()
    folder = tmp_path / "nnUNet_raw" / "Dataset501_b"
    shutil.rmtree(tmp_path / "sub-0002")
    image = tmp_path / "sub-0003" / "anat" / "sub-0003_T2w.nii.gz"
    data = (tmp_path / "sub-0001" / "anat" / "sub-0001_T2w.nii.gz").read_bytes()
    image.unlink()
    image.write_bytes(data)
    FinalizeDataset(table)()
    assert check_nnunet(folder)["numTraining"] == 2
    assert (folder / "imagesTr" / "sub-0003_0001.nii.gz").read_bytes() == data


@pytest.mark.parametrize(
    "spoil, sentence",
    [
        (lambda case: case["label"].unlink(), "label map .*sub-0002_dseg.nii.gz cannot be read"),
        (lambda case: case["label"].write_bytes(b"x"), "label map .*sub-0002_dseg.nii.gz cannot be read"),
        (lambda case: case["image"].unlink(), "image .*sub-0002_T2w.nii.gz is missing: delete the folder of its case"),
        (
            lambda case: change(case, files=["sub-0002_T1w.nii.gz"]),
            "sub-0002 has no label map, but nnU-Net needs T1w",
        ),
        (
            lambda case: change(case, files=["sub-0002_T1w.nii.gz", "sub-0002_dseg.nii.gz"]),
            "sub-0002 has the contrasts T1w, but nnU-Net needs T1w, T2w",
        ),
        (
            lambda case: change(case, labels={"2": "high", "7": "low"}),
            "label 2 is 'high' there and 'low' in another",
        ),
        (lambda case: change(case, labels=["low"]), "labels is .*but must be value -> name"),
    ],
)
def test_a_spoilt_case_is_named_and_nothing_half_is_left(tmp_path, spoil, sentence):
    table = written(tmp_path, NIFTI, labels={"2": "low", "7": "high"}, spacing_mm=2.0)
    spoil(
        {
            "label": table.path("sub-0002", "dseg.nii.gz"),
            "image": table.path("sub-0002", "T2w.nii.gz"),
            "sidecar": table.sidecar("sub-0002"),
        }
    )
    with pytest.raises(UserError, match=sentence) as caught:
        FinalizeDataset(table)()
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("dataset.json")) and (tmp_path / "participants.tsv").is_file()


def change(case, **values) -> None:
    record = json.loads(case["sidecar"].read_text())
    case["sidecar"].write_text(json.dumps(record | values))


def test_a_value_without_a_name_is_one_sentence(tmp_path):
    table = written(tmp_path, NIFTI, labels={"2": "low"}, spacing_mm=2.0)
    with pytest.raises(UserError, match="holds the value 7, which has no name: state it in the sidecar's labels"):
        FinalizeDataset(table)()


# --- regions ---------------------------------------------------------------------------------------------------------


def test_regions_that_overlap_are_decoded_to_the_parts_that_they_were_made_of():
    parts = {"GM": 1, "core": 2, "enhancing": 3, "oedema": 4}
    regions = {"tumour core": ["core", "enhancing"], "whole tumour": ["core", "enhancing", "oedema"]}
    labels, order = label_entries(parts, regions)
    assert list(labels) == ["background", "whole tumour", "tumour core", "GM", "enhancing"]
    assert labels["whole tumour"] == [2, 3, 4] and order == [4, 2, 1, 3]
    for value in parts.values():  # nnU-Net writes the regions that hold a voxel over each other, in this order
        inside = [value in entry if isinstance(entry, list) else value == entry for entry in list(labels.values())[1:]]
        assert [stands for stands, holds in zip(order, inside) if holds][-1] == value
    assert label_entries(parts, {}) == ({"background": 0, **parts}, None)
    for wrong in ({"tumour": ["core", "rim"]}, {"GM": ["core", "oedema"]}):
        with pytest.raises(UserError, match="the parts are GM, core, enhancing, oedema"):
            label_entries(parts, wrong)
