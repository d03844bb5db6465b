"""A data set that one locale began another finishes: texts are UTF-8, names of files are recorded by their bytes."""

from __future__ import annotations

import os
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from bundle_runs import ROOT

from synthzoo.cases.requests import read_table
from synthzoo.io.files import text_of

RUN = """
import sys
import numpy as np, torch
from synthzoo.cases.images import ImageTable
from synthzoo.results.finalize import FinalizeDataset
from synthzoo.results.save import SaveResult

table = ImageTable(sys.argv[1], output_dir=sys.argv[2], bundle="b", output_format=sys.argv[3])
save = SaveResult(table, {"pred": "heatmap.nii.gz", "dseg": "dseg.nii.gz"}, spacing_mm=2.0)
labels = torch.zeros(1, 8, 8, 8)
labels[0, 2:4, 2:4, 2:4] = 1
for index in range(len(table)):
    save({**table[index], "pred": torch.rand(1, 8, 8, 8), "dseg": labels})
print(f"{len(table)} to do, {table.skipped} done")


class Engine:
    def add_event_handler(self, *_):
        pass


finalize = FinalizeDataset(table)
finalize.attach(Engine()) if not len(table) else finalize()
"""
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}  # what Python sees where a locale is no UTF-8
UTF8 = {"LC_ALL": "C.UTF-8"}
# A file's name is bytes: UTF-8 of two scripts, and one that an old archive wrote in Latin-1.
NAMES = ("Müller.nii.gz".encode(), "脳.nii.gz".encode(), b"L\xfctin.nii.gz")


@pytest.fixture(scope="module")
def latin1(tmp_path_factory):
    """A locale whose encoding is Latin-1, made on the spot."""
    folder = tmp_path_factory.mktemp("locales")
    made = subprocess.run(["localedef", "-c", "-i", "de_DE", "-f", "ISO-8859-1", folder / "de_DE"], capture_output=True)
    if made.returncode > 1 or not (folder / "de_DE").exists():
        pytest.skip("localedef knows no de_DE here")
    return {"LOCPATH": str(folder), "LC_ALL": "de_DE", "PYTHONUTF8": "0"}


def run(folder, out, locale, output_format="native"):
    words = [sys.executable, "-c", RUN, os.fsencode(folder), os.fsencode(out), output_format]
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | locale
    done = subprocess.run(words, env=environment, capture_output=True, timeout=280)
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    return done.stdout.decode("utf-8", "replace")


@pytest.fixture
def folder(tmp_path):
    """Scans with names of every kind."""
    folder = tmp_path / "Köpfe"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        scan = tmp_path / "scan.nii.gz"
        nib.save(nib.Nifti1Image(np.random.default_rng(number).random((8, 8, 8)), np.eye(4)), scan)
        os.rename(os.fsencode(scan), os.path.join(os.fsencode(folder), name))
    return folder


def expect_idempotent(folder, out, locales, output_format="native"):
    first, *others = locales
    assert "3 to do, 0 done" in run(folder, out, first, output_format)
    table = (out / "participants.tsv").read_text(encoding="utf-8")
    for locale in others:
        said = run(folder, out, locale, output_format)
        assert "0 to do, 3 done" in said and "nothing to do" in said, said
        assert (out / "participants.tsv").read_text(encoding="utf-8") == table
    assert len([path for path in out.iterdir() if path.is_dir()]) == 3
    assert all(f"\n{name}" in table for name in ("Müller", "脳", "Lütin")), table


def test_what_one_locale_began_another_takes_for_done(folder, tmp_path):
    expect_idempotent(folder, tmp_path / "Überblick", [ASCII, UTF8])


def test_a_latin_1_locale_knows_its_own_and_others_results(folder, tmp_path, latin1):
    expect_idempotent(folder, tmp_path / "Überblick", [latin1, latin1, UTF8])


def test_dicom_results_of_names_with_umlauts_are_known_again(folder, tmp_path):
    expect_idempotent(folder, tmp_path / "out", [UTF8, ASCII], "dicom")


def test_a_name_is_its_bytes_as_text():
    assert text_of(os.fsdecode("ü".encode())) == "ü" and text_of(os.fsdecode(b"\xfc")) == "ü"
    assert text_of("plain") == "plain"


def test_a_table_with_a_byte_order_mark_is_read(tmp_path):
    path = tmp_path / "requests.csv"
    path.write_bytes(b"\xef\xbb\xbfage,seed\n70,3\n")
    assert read_table(path, {"age": {"type": "number"}})[0]["requested"] == {"age": 70.0}
