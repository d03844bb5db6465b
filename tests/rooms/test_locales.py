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
NAMES = {"umlaut": "Müller.nii.gz".encode(), "Latin-1": b"M\xfcller.nii.gz", "Japanese": "脳.nii.gz".encode()}


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
    done = subprocess.run(words, env=environment, capture_output=True, timeout=100)
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    return done.stdout.decode("utf-8", "replace")


def expect_idempotent(tmp_path, name, locales, output_format="native"):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    scan = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(np.random.default_rng(0).random((8, 8, 8)), np.eye(4)), scan)
    os.rename(os.fsencode(scan), os.path.join(os.fsencode(folder), name))
    first, *others = locales
    assert "1 to do, 0 done" in run(folder, out, first, output_format)
    table = (out / "participants.tsv").read_text(encoding="utf-8")
    for locale in others:
        said = run(folder, out, locale, output_format)
        assert "0 to do, 1 done" in said and "nothing to do" in said, said
        assert (out / "participants.tsv").read_text(encoding="utf-8") == table
    assert len([path for path in out.iterdir() if path.is_dir()]) == 1
    return table


@pytest.mark.parametrize("name", NAMES)
def test_what_one_locale_began_another_takes_for_done(tmp_path, name):
    table = expect_idempotent(tmp_path, NAMES[name], [UTF8, ASCII, UTF8])
    assert ("脳" if name == "Japanese" else "Müller") in table


def test_a_latin_1_locale_knows_its_own_and_others_results(tmp_path, latin1):
    assert "Müller" in expect_idempotent(tmp_path, NAMES["umlaut"], [latin1, latin1, UTF8, ASCII])


def test_dicom_results_of_names_with_umlauts_are_known_again(tmp_path):
    expect_idempotent(tmp_path, NAMES["umlaut"], [ASCII, UTF8], "dicom")


def test_a_name_is_its_bytes_as_text():
    assert text_of(os.fsdecode("ü".encode())) == "ü" and text_of(os.fsdecode(b"\xfc")) == "ü"
    assert text_of("plain") == "plain"


def test_a_table_with_a_byte_order_mark_is_read(tmp_path):
    path = tmp_path / "requests.csv"
    path.write_bytes(b"\xef\xbb\xbfage,seed\n70,3\n")
    assert read_table(path, {"age": {"type": "number"}})[0]["requested"] == {"age": 70.0}
