"""A case's name comes from its image's own path: what joins the image renames nothing, and reruns know their cases."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from synthzoo.cases.images import ImageTable
from synthzoo.cases.names import stable_names
from synthzoo.io.files import write_json


def scan(path, level=1.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.zeros((4, 4, 4), np.float32)
    voxels[1:3] = level
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), path)
    return path


def table_of(images, out=None, **settings):
    return ImageTable(images, output_dir=None if out is None else str(out), bundle="b", **settings)


def finish(table):
    """Write what a run of the table leaves, by its case names."""
    for row in table.rows:
        case = table.cases[row]
        path = table.path(case)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"map")
        write_json(table.sidecar(case), {"DerivedBy": "b", **table.request(row), "files": [path.name]})
    return list(table.cases)


WAYS = {
    "folder": lambda folder, scans: str(folder),
    "pattern": lambda folder, scans: str(folder / "*" / "*.nii.gz"),
    "deep pattern": lambda folder, scans: str(folder / "**" / "T1.nii.gz"),
    "list": lambda folder, scans: [str(path) for path in scans],
    "list of folders": lambda folder, scans: [str(path.parent) for path in scans],
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("joins", ["s0", "s2"])
def test_a_scan_that_joins_makes_one_new_case_and_renames_none(tmp_path, way, joins):
    folder, out = tmp_path / "in", tmp_path / "out"
    scans = [scan(folder / "s1" / "T1.nii.gz")]
    first = finish(table_of(WAYS[way](folder, scans), out))
    scans.append(scan(folder / joins / "T1.nii.gz", 2.0))
    table = table_of(WAYS[way](folder, sorted(scans)), out)
    assert set(first) < set(table.cases) and len(set(table.cases)) == 2
    assert table.skipped == 1 and [table.paths[row] for row in table.rows] == [scans[1]]
    finish(table)
    again = table_of(WAYS[way](folder, sorted(scans)), out)
    assert again.skipped == 2 and not again.rows and len(list(out.iterdir())) == 2


def test_one_scan_is_one_case_however_it_is_given(tmp_path):
    path, out = scan(tmp_path / "in" / "s1" / "T1.nii.gz"), tmp_path / "out"
    finish(table_of(str(path), out))
    for images in (str(tmp_path / "in"), [str(path)], str(tmp_path / "in" / "*" / "*.nii.gz"), str(path.parent)):
        assert table_of(images, out).skipped == 1, images
    assert [folder.name for folder in out.iterdir()] == ["T1"]


@pytest.mark.parametrize(
    "below, name",
    [
        ("scan.nii.gz", "scan"),
        ("my scan.nii", "my-scan"),
        ("s1/T1.nii.gz", "s1_T1"),
        ("site A/s1/T1.nii.gz", "site-A_s1_T1"),
        ("sub-01/anat/sub-01_T1w.nii.gz", "sub-01_T1w"),
        ("sub-01/ses-2/anat/sub-01_ses-2_FLAIR.nii.gz", "sub-01_ses-2_FLAIR"),
        ("site/sub-01/anat/sub-01_T1w.nii.gz", "site_sub-01_T1w"),
        ("BraTS_001/BraTS_001_flair.nii.gz", "BraTS_001_flair"),
        ("s/scan.nii.gz", "s_scan"),
        ("1.2.840/1.2.840.nii.gz", "1.2.840"),
    ],
)
def test_a_name_is_the_path_below_the_folder_without_what_it_says_twice(tmp_path, below, name):
    path = scan(tmp_path / "in" / below)
    scan(tmp_path / "in" / "other" / "scan.nii.gz"), scan(tmp_path / "in" / "another.nii.gz")
    table = table_of(str(tmp_path / "in"))
    assert table.cases[table.paths.index(path)] == name


def test_two_images_of_one_name_are_told_and_both_are_done(tmp_path, capsys):
    paths = [scan(tmp_path / "in" / name, level) for name, level in (("T1.nii", 1), ("T1.nii.gz", 2))]
    out = tmp_path / "out"
    assert finish(table_of(str(paths[1]), out)) == ["T1"]
    table = table_of(str(tmp_path / "in"), out)
    assert dict(zip(table.paths, table.cases))[paths[1]] == "T1" and table.skipped == 1
    told = capsys.readouterr().err
    assert str(paths[0]) in told and str(paths[1]) in told and "have one name, T1" in told
    finish(table)
    assert table_of(str(tmp_path / "in"), out).skipped == 2


def test_two_scans_of_one_content_stay_two_cases(tmp_path):
    for name in ("s1", "s2"):
        scan(tmp_path / "in" / name / "T1.nii.gz")
    out = tmp_path / "out"
    assert finish(table_of(str(tmp_path / "in"), out)) == ["s1_T1", "s2_T1"]
    assert table_of(str(tmp_path / "in"), out).skipped == 2
    finish(table_of(str(tmp_path / "in" / "s1" / "T1.nii.gz"), out))
    assert sorted(folder.name for folder in out.iterdir()) == ["s1_T1", "s2_T1"]


def test_a_list_that_is_turned_round_keeps_its_names(tmp_path):
    paths = [str(scan(tmp_path / name / "T1.nii.gz", level)) for name, level in (("s1", 1), ("s2", 2))]
    out = tmp_path / "out"
    first = dict(zip(paths, finish(table_of(paths, out))))
    turned = table_of(paths[::-1], out)
    assert turned.skipped == 2 and dict(zip(map(str, turned.paths), turned.cases)) == first
    for path in paths:
        assert table_of(path, out).cases == [first[path]] and table_of(path, out).skipped == 1


def test_a_linked_scan_is_named_by_its_link_and_not_by_what_it_leads_to(tmp_path):
    target = scan(tmp_path / "store" / "K1" / "MD5E-s1.nii.gz")
    (tmp_path / "in" / "sub-01").mkdir(parents=True)
    (tmp_path / "in" / "sub-01" / "sub-01_T1w.nii.gz").symlink_to(target)
    assert table_of(str(tmp_path / "in")).cases == ["sub-01_T1w"]


def test_names_are_never_empty_hidden_or_broken_over_lines():
    paths = [Path("/data/.hidden.nii.gz"), Path("/data/a\tb\nc.nii.gz"), Path("/data/.nii.gz")]
    assert stable_names([str(path) for path in paths], paths) == ["hidden", "a-b-c", "image"]
