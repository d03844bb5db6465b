"""Sentences say what is there, and tables, names and ages are taken as people write them."""

from __future__ import annotations

import numpy as np
import pytest

from synthzoo.cases.images import find_images
from synthzoo.cases.requests import read_table
from synthzoo.datasets.echo.echonet import read_echonet
from synthzoo.datasets.participants import read_participants
from synthzoo.errors import UserError
from synthzoo.io.videos import write_avi

AGE = {"type": "number", "minimum": 20, "maximum": 90, "unit": "years"}
SEX = {"type": "string", "enum": ["F", "M"]}


@pytest.mark.parametrize("letter", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1e"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_separator_within_a_cell_moves_no_line_number(letter, end, tmp_path):
    table = tmp_path / "requests.csv"
    lines = ["age,participant_id", f"70,sub-1{letter}a", "70,sub-2"]
    table.write_bytes(end.join(lines).encode())
    with pytest.raises(UserError, match=rf"{table} line 2: participant_id is 'sub-1"):
        read_table(table, {"age": AGE})
    table.write_bytes(end.join(["age,measured_note", f"70,a{letter}b", "700,c"]).encode())
    with pytest.raises(UserError, match=rf"{table} line 3: age is 700"):
        read_table(table, {"age": AGE})
    table.write_bytes(end.join(["age,measured_note", f"70,a{letter}b", "71,c", ""]).encode())
    assert [row["requested"]["age"] for row in read_table(table, {"age": AGE})] == [70, 71]


@pytest.mark.parametrize("age, read", [("89+", 89), ("89 ", 89), ("70", 70), ("n/a", None)])
@pytest.mark.parametrize("sex, said", [("O", None), ("o", None), ("other", None), ("F", "F"), ("n/a", None)])
def test_ages_and_sexes_are_read_as_bids_writes_them(age, read, sex, said, tmp_path):
    path = tmp_path / "participants.tsv"
    path.write_text(f"participant_id\tage\tsex\nsub-01\t{age}\t{sex}\n")
    assert read_participants(path, {"age": AGE, "sex": SEX})[0]["requested"] == {"age": read, "sex": said}


def test_an_age_that_is_none_is_still_refused(tmp_path):
    path = tmp_path / "participants.tsv"
    for age in ("89++", "8+9", "old", "95+"):
        path.write_text(f"participant_id\tage\nsub-01\t{age}\n")
        with pytest.raises(UserError, match=f"{path} line 2: age is "):
            read_participants(path, {"age": AGE})


@pytest.fixture
def echonet(tmp_path):
    """A data set of one video, whose files and tables may write its ending as they like."""

    def make(file: str, listed: str, traced: str):
        (tmp_path / "Videos").mkdir()
        write_avi(tmp_path / "Videos" / "a.avi", np.zeros((20, 32, 32), np.uint8), 50.0)
        (tmp_path / "Videos" / "a.avi").rename(tmp_path / "Videos" / file)
        (tmp_path / "FileList.csv").write_text(f"FileName,EF,Split\n{listed},55,TEST\n")
        lines = [
            f"{traced},{left},{y},{right},{y},{f}" for f, left, right in ((10, 8, 20), (4, 10, 18)) for y in (4, 9, 14)
        ]
        (tmp_path / "VolumeTracings.csv").write_text("FileName,X1,Y1,X2,Y2,Frame\n" + "\n".join(lines) + "\n")
        return tmp_path

    return make


@pytest.mark.parametrize(
    "file, listed, traced",
    [
        ("0XA.avi", "0XA", "0XA.AVI"),
        ("0XA.AVI", "0XA.avi", "0XA"),
        ("0XA.avi", "0XA.AVI", "0XA.Avi"),
    ],
)
def test_videos_and_tracings_are_joined_however_their_ending_is_written(file, listed, traced, echonet):
    (row,) = read_echonet(echonet(file, listed, traced))
    assert (row["es_frame"], row["ed_frame"]) == (4, 10)


def test_tracings_of_other_videos_alone_are_told(echonet, capsys):
    folder = echonet("0XA.avi", "0XA", "0xB.avi")
    with pytest.raises(
        UserError, match="VolumeTracings.csv traces none of the videos of the list, which has 0XA where it has 0xB"
    ):
        read_echonet(folder)
    assert len(read_echonet(folder, leave_out=True)) == 1
    assert "traces none of the videos" in capsys.readouterr().err


def test_a_frame_rate_that_differs_has_a_remedy_that_works(echonet):
    folder = echonet("0XA.avi", "0XA", "0XA")
    (folder / "FileList.csv").write_text("FileName,EF,FPS,Split\n0XA,55,30,TEST\n")
    with pytest.raises(UserError, match="FPS: 30 is stated, but 0XA.avi has 50; correct the cell, or empty it"):
        read_echonet(folder)
    (folder / "FileList.csv").write_text("FileName,EF,FPS,Split\n0XA,55,,TEST\n")
    assert read_echonet(folder)[0]["fps"] == 50


@pytest.mark.parametrize(
    "kinds, ending",
    [(("volume",), ".nii.gz"), (("video",), ".avi"), (("video", "image"), ".avi"), (("image",), ".png")],
)
def test_the_pattern_of_the_sentence_is_of_the_kind_that_is_taken(kinds, ending):
    with pytest.raises(UserError, match=rf"a pattern like 'in/\*\{ending}'"):
        find_images("", kinds=kinds)


def write_slices(folder, name, modality="MR"):
    import pydicom

    folder.mkdir()
    for number in range(4):
        meta = pydicom.dataset.FileMetaDataset()
        meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
        meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
        meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
        data = pydicom.dataset.FileDataset("x", {}, file_meta=meta, preamble=b"\0" * 128)
        data.is_little_endian, data.is_implicit_VR, data.Modality = True, False, modality
        data.save_as(str(folder / name.format(number)), write_like_original=False)


@pytest.mark.parametrize(
    "name", ["P.MR.HEAD.{:04d}.2024.IMA", "MR.1.3.12.2.{}", "1.2.840.{}", "IM{:04d}", "i{}.dcm", "I{}.DCM", "{}.ima"]
)
def test_slices_are_found_whatever_a_scanner_calls_them(name, tmp_path):
    write_slices(tmp_path / "series", name)
    assert find_images(tmp_path / "series") == [tmp_path / "series"]
    assert find_images(tmp_path) == [tmp_path / "series"]
    with pytest.raises(UserError, match="holds DICOM files, but not of a video .* is of a volume of the modality MR"):
        find_images(tmp_path, kinds=("video",))
