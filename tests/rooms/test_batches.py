"""A case that fails, at whatever stage, is named and left out; the others are done and the run ends with a mistake."""

from __future__ import annotations

import json
import logging

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import Dataset
from monai.inferers import SimpleInferer
from monai.transforms import Compose, Lambda, Lambdad

from synthzoo.cases.batches import CaseEvaluator, CaseLoader
from synthzoo.cases.failures import causes_of
from synthzoo.cases.images import ImageTable, LoadVolumed
from synthzoo.cases.requests import RequestTable
from synthzoo.errors import CannotWrite, UserError, find_user_error
from synthzoo.results.finalize import FinalizeDataset
from synthzoo.results.save import SaveResult

BAD = 7.0  # the brightest voxel of a scan that fails
AGE = {"age": {"type": "number", "minimum": 20, "maximum": 90}}


def told(image):
    """A fault that its author worded, without the file's name."""
    if float(torch.as_tensor(image).max()) == BAD:
        raise UserError("no brain was found: check what the image shows.")
    return image


def unforeseen(image):
    """A fault that nobody thought of."""
    return image / [][0] if float(torch.as_tensor(image).max()) == BAD else image


def too_large(image):
    """What numpy says of a case that is too large for the machine."""
    return np.zeros(1 << 50, np.float64) if float(torch.as_tensor(image).max()) == BAD else image


def too_large_for_torch(image):
    return torch.zeros(1 << 50) if float(torch.as_tensor(image).max()) == BAD else image


def unreadable(image):
    return open("/nowhere/weights.bin", "rb") if float(torch.as_tensor(image).max()) == BAD else image


class Network(torch.nn.Module):
    """The identity, which fails as it is told to."""

    def __init__(self, fails=None):
        super().__init__()
        self.fails = fails

    def forward(self, images):
        return images if self.fails is None else self.fails(images)


@pytest.fixture
def scans(tmp_path):
    """Three scans, the second of which fails where a test says."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number, name in enumerate("abc"):
        voxels = np.zeros((6, 6, 6), np.float32)
        voxels[2:4, 2:4, 2:4] = BAD if name == "b" else 1 + number
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), folder / f"{name}.nii.gz")
    return folder


def run(images, out, before=None, network=None, after=None, batch_size=1, workers=0, **settings):
    """The whole run of a small bundle; gives the table."""
    table = ImageTable(str(images), output_dir=str(out), bundle="small", **settings)
    steps = [LoadVolumed("image"), *([Lambdad("image", before)] if before else [])]
    last = [*([Lambdad("pred", after)] if after else []), SaveResult(table, {"pred": "heatmap.nii.gz"})]
    loader = CaseLoader(Dataset(table, Compose(steps)), workers, batch_size=batch_size)
    evaluator = CaseEvaluator(
        torch.device("cpu"),
        loader,
        Network(network),
        inferer=SimpleInferer(),
        postprocessing=Compose(last),
        val_handlers=[FinalizeDataset(table, preview=0)],
    )
    evaluator.run()
    return table


def done(out):
    return (out / "participants.tsv").read_text(encoding="utf-8").split()[1:]


STAGES = ["before", "network", "after"]
FAULTS = [told, unforeseen, too_large, too_large_for_torch, unreadable]


@pytest.mark.parametrize(
    "stage, fault, batch_size",
    [(stage, fault, 1) for stage in STAGES for fault in FAULTS]
    + [(stage, told, size) for stage in STAGES for size in (2, 3)],
)
def test_a_case_that_fails_at_any_stage_is_named_and_the_others_are_done(
    scans, tmp_path, stage, fault, batch_size, capsys, caplog
):
    out = tmp_path / "out"
    with pytest.raises(UserError, match="1 inputs could not be used, the others are done: image ") as caught:
        run(scans, out, batch_size=batch_size, **{stage: fault})
    assert done(out) == ["a", "c"] and str(scans / "b.nii.gz") in str(caught.value)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
    assert capsys.readouterr().err.count("warning: left out: image ") == 1
    assert not list((out / "b").rglob("*")), "nothing is left of a case that is not complete"
    traced = [
        record for record in caplog.records if record.levelno >= logging.ERROR and "in unforeseen" in record.message
    ]
    assert bool(traced) is (fault is unforeseen), "what nobody foresaw has its traceback in the log, and nothing else"
    words = {told: "no brain was found", unforeseen: "IndexError", unreadable: "No such file"}
    assert words.get(fault, "needs more memory than there is") in str(caught.value)
    # The same command again does what is missing and keeps the rest.
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.nii.gz")}
    assert run(scans, out).skipped == 2
    assert done(out) == ["a", "b", "c"] and all(path.stat().st_mtime_ns == at for path, at in before.items())


def test_a_case_that_cannot_be_saved_is_named_and_the_others_are_done(scans, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b").write_text("a file where the case's folder belongs", encoding="utf-8")
    with pytest.raises(UserError, match="b_heatmap.nii.gz cannot be written"):
        run(scans, tmp_path / "out")
    assert done(tmp_path / "out") == ["a", "c"]


def test_results_that_the_writer_refuses_leave_the_others(scans, tmp_path):
    def with_nan(image):
        return image * float("nan") if float(torch.as_tensor(image).max()) == BAD else image

    with pytest.raises(UserError, match=r"image .*b\.nii\.gz: the network gave NaN"):
        run(scans, tmp_path / "out", after=with_nan)
    assert done(tmp_path / "out") == ["a", "c"]


@pytest.mark.parametrize("fault", [told, unforeseen])
def test_worker_processes_give_their_failures_to_the_run(scans, tmp_path, fault):
    with pytest.raises(UserError, match=r"1 inputs could not be used.*b\.nii\.gz"):
        run(scans, tmp_path / "out", before=fault, batch_size=2, workers=1)
    assert done(tmp_path / "out") == ["a", "c"]


def test_scans_of_several_sizes_in_one_batch_are_run_one_at_a_time(scans, tmp_path):
    nib.save(nib.Nifti1Image(np.random.default_rng(0).random((4, 5, 6)), np.eye(4)), scans / "d.nii.gz")
    run(scans, tmp_path / "out", batch_size=4)
    assert done(tmp_path / "out") == ["a", "b", "c", "d"]


def test_a_batch_that_is_too_large_is_run_one_case_at_a_time(scans, tmp_path, caplog):
    def two_at_once(images):
        return torch.zeros(1 << 50) if len(images) > 1 else images

    run(scans, tmp_path / "out", network=two_at_once, batch_size=3)
    assert done(tmp_path / "out") == ["a", "b", "c"]
    assert "a batch of 3 cases failed" in caplog.text


def test_where_every_case_fails_the_run_says_so_and_nothing_is_written(scans, tmp_path):
    (scans / "a.nii.gz").unlink()
    (scans / "c.nii.gz").unlink()
    nib.save(nib.load(scans / "b.nii.gz"), scans / "other.nii.gz")
    with pytest.raises(UserError, match="none of the 2 inputs could be used; the first: image .*b.nii.gz: no brain"):
        run(scans, tmp_path / "out", network=told)
    assert not list((tmp_path / "out").rglob("*.*"))


@pytest.mark.parametrize("stage", STAGES)
def test_a_single_case_that_fails_ends_the_run_with_its_own_sentence(scans, tmp_path, stage):
    with pytest.raises(UserError) as caught:
        run(scans / "b.nii.gz", tmp_path / "out", **{stage: told})
    assert str(caught.value) == f"image {scans / 'b.nii.gz'}: no brain was found: check what the image shows."
    with pytest.raises(Exception, match="list index out of range|applying transform"):
        run(scans / "b.nii.gz", tmp_path / "out", **{stage: unforeseen})


def test_what_concerns_every_case_ends_the_run_at_once(scans, tmp_path):
    def full(image):
        raise CannotWrite("no space left to write it.")

    with pytest.raises(Exception) as caught:
        run(scans, tmp_path / "out", after=full)
    assert "no space left" in str(find_user_error(caught.value))
    assert not (tmp_path / "out" / "participants.tsv").exists()


def test_a_fault_of_the_code_in_a_run_without_inputs_ends_it_with_its_traceback(tmp_path):
    table = RequestTable(AGE, num_samples=3, noise_shape=(1, 4, 4, 4), output_dir=str(tmp_path), block=3)

    def evaluator(step):
        return CaseEvaluator(
            torch.device("cpu"),
            CaseLoader(table, batch_size=3),
            Network(),
            prepare_batch=lambda batch, device, *_, **__: (batch["image"], None),
            postprocessing=Compose([step, SaveResult(table, spacing_mm=2.0)]),
            val_handlers=[FinalizeDataset(table, preview=0)],
        )

    def of_one(sample):
        if sample["case"] == "sub-0002":
            raise UserError("the network gave NaN.")
        return sample

    with pytest.raises(Exception) as caught:
        evaluator(Lambda(lambda sample: sample["no such key"])).run()
    assert isinstance([*causes_of(caught.value)][-1], KeyError)
    with pytest.raises(UserError, match="case sub-0002: the network gave NaN"):
        evaluator(Lambda(of_one)).run()
    assert [line.split()[0] for line in (tmp_path / "participants.tsv").read_text().splitlines()[1:]] == [
        "sub-0001",
        "sub-0003",
    ]


def test_a_scan_that_was_replaced_is_named_and_the_others_are_done(scans, tmp_path):
    run(scans, tmp_path / "out")
    nib.save(nib.Nifti1Image(np.random.default_rng(0).random((6, 6, 6)), np.eye(4)), scans / "b.nii.gz")
    nib.save(nib.Nifti1Image(np.random.default_rng(1).random((6, 6, 6)), np.eye(4)), scans / "d.nii.gz")
    with pytest.raises(UserError, match="was made from another request .input is .*dataset#data#overwrite True"):
        run(scans, tmp_path / "out")
    assert done(tmp_path / "out") == ["a", "b", "c", "d"]
    run(scans, tmp_path / "out", overwrite=True)
    found = json.loads((tmp_path / "out" / "b" / "b_heatmap.json").read_text(encoding="utf-8"))
    assert found["input"] == ImageTable(str(scans / "b.nii.gz")).record(0)["input"]


def test_results_of_other_settings_refuse_the_whole_run(scans, tmp_path):
    run(scans / "a.nii.gz", tmp_path / "out", settings={"threshold": 0.1})
    with pytest.raises(UserError, match="settings is .*choose another output_dir"):
        run(scans, tmp_path / "out", settings={"threshold": 0.2})
    assert done(tmp_path / "out") == ["a"]


def test_a_damaged_sidecar_of_an_earlier_run_is_named_and_the_tables_are_written(scans, tmp_path, capsys):
    run(scans, tmp_path / "out")
    (tmp_path / "out" / "old").mkdir()
    (tmp_path / "out" / "old" / "old_heatmap.json").write_text('{"seed": 1', encoding="utf-8")
    run(scans, tmp_path / "out")
    assert done(tmp_path / "out") == ["a", "b", "c"]
    assert "old_heatmap.json is no sidecar that can be read" in capsys.readouterr().err
