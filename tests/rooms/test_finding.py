"""What a folder of scans holds: results of ours are known as results, links and closed folders are told."""

from __future__ import annotations

import os

import nibabel as nib
import numpy as np
import pytest
import torch

from synthzoo.cases.examples import FOLDER
from synthzoo.cases.finding import find_images
from synthzoo.cases.images import ImageTable
from synthzoo.errors import UserError
from synthzoo.results.finalize import FinalizeDataset
from synthzoo.results.save import SaveResult

KINDS = {"volume": "nii.gz", "image": "png", "video": "avi"}


def scan(path, level=1.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.zeros((8, 8, 8), np.float32)
    voxels[2:6, 2:6, 2:6] = level
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), path)
    return path


@pytest.fixture
def given(tmp_path):
    """A folder with one input of each kind, none of them synthetic."""
    from PIL import Image

    from synthzoo.io.videos import write_avi

    folder = tmp_path / "in"
    scan(folder / "head.nii.gz")
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(folder / "xray.png")
    write_avi(folder / "heart.avi", np.random.default_rng(0).random((4, 16, 16)), 20)
    return folder


def write_results(given, out, kind, outputs, values, output_format="native", derived=(), bundle="made_by"):
    """Run the writers of a bundle over the input of a kind in the folder."""
    table = ImageTable(
        str(next(path for path in given.iterdir() if path.name.endswith(KINDS[kind]))),
        output_dir=str(out),
        kinds=(kind,),
        loader=lambda sample: sample,
        suffix=next(iter(outputs.values())),
        bundle=bundle,
        output_format=output_format,
    )
    values = values | ({"image": PICTURE} if kind == "image" else {})
    settings = {"spacing_mm": 1.0} if kind == "volume" else {"fps": 20.0} if kind == "video" else {}
    save = SaveResult(table, outputs, derived=derived, **settings)
    for index in range(len(table)):
        save({**table[index], **{key: torch.as_tensor(value) for key, value in values.items()}})
    FinalizeDataset(table, preview=1)()


VOLUME = np.random.default_rng(0).random((1, 8, 8, 8)).astype(np.float32)
PICTURE = np.random.default_rng(0).random((1, 16, 16)).astype(np.float32)
VIDEO = np.random.default_rng(0).random((1, 4, 16, 16)).astype(np.float32)
MADE = {
    "maps": ("volume", {"pred": "heatmap.nii.gz", "dseg": "dseg.nii.gz"}, {"pred": VOLUME, "dseg": VOLUME > 0.5}, ()),
    "a translation": ("volume", {"pred": "T2w.nii.gz"}, {"pred": VOLUME}, ()),
    "2D maps": ("image", {"pred": "heatmap.png"}, {"pred": PICTURE}, ()),
    "a 2D image": ("image", {"pred": "cxr.png"}, {"pred": PICTURE}, ()),
    "videos": ("video", {"pred": "echo.avi", "factual": "factual.avi"}, {"pred": VIDEO, "factual": VIDEO}, ["factual"]),
}


@pytest.mark.parametrize("output_format", ["native", "dicom"])
@pytest.mark.parametrize("made", MADE)
def test_results_inside_the_folder_of_the_scans_are_no_scans(given, made, output_format):
    kind, outputs, values, derived = MADE[made]
    kept = {each: find_images(str(given), kinds=(each,)) for each in KINDS}
    write_results(given, given / "out1", kind, outputs, values, output_format, derived)
    assert (given / "out1" / "participants.tsv").is_file() and len(list((given / "out1").rglob("*.*"))) > 3
    for each in KINDS:  # into the folder that is advised, or into the scans' own
        for exclude in (given / "out2", given, None):
            assert find_images(str(given), exclude, (each,), bundle="made_by") == kept[each], (each, exclude)
    pattern = str(given / "**" / f"*.{KINDS[kind]}")
    assert find_images(pattern, given / "out2", (kind,), bundle="made_by") == kept[kind]


def test_a_generator_s_videos_may_be_audited_by_another_bundle(given):
    kind, outputs, values, derived = MADE["videos"]
    write_results(given, given / "out1", kind, outputs, values, derived=derived)
    found = find_images(str(given / "out1"), None, ("video",), bundle="an_audit")
    assert [path.name for path in found] == ["heart_echo.avi"], "the synthetic one, and no copy of the input"
    with pytest.raises(UserError, match="holds no .* but 2 results of earlier runs"):
        find_images(str(given / "out1"), None, ("video",), bundle="made_by")


def test_the_example_of_an_earlier_run_is_no_scan_of_the_folder(given):
    example = scan(given / "out1" / FOLDER / "example-0.nii.gz")
    assert find_images(str(given), given / "out2") == [given / "head.nii.gz"]
    assert find_images(str(example.parent), given / "out1") == [example], "but it is where it is named"


def test_results_in_the_scans_own_folder_do_not_hide_the_scans(given):
    assert find_images(str(given), exclude=given) == [given / "head.nii.gz"]
    assert find_images(str(given), exclude=given.parent) == [given / "head.nii.gz"]


def test_hidden_files_and_folders_do_not_count(tmp_path):
    kept = scan(tmp_path / "a.nii.gz")
    (
        scan(tmp_path / ".git" / "annex" / "b.nii.gz"),
        scan(tmp_path / ".hidden.nii.gz"),
        scan(tmp_path / "s" / ".c.nii.gz"),
    )
    assert find_images(str(tmp_path)) == [kept]


def test_a_file_with_two_names_counts_once_by_its_own_name_and_a_dangling_link_is_named(tmp_path, capsys):
    own = scan(tmp_path / "in" / "scan.nii.gz")
    (tmp_path / "in" / "a_link.nii.gz").symlink_to(own)
    gone = tmp_path / "in" / "gone.nii.gz"
    gone.symlink_to(tmp_path / "nowhere.nii.gz")
    assert find_images(str(tmp_path / "in")) == [gone, own] == find_images(str(tmp_path / "in" / "*.nii.gz"))
    table = ImageTable(str(tmp_path / "in"))
    assert len(table) == 1 and len(table.failures) == 1 and f"{gone} does not exist" in table.failures[0]


def test_two_links_to_one_file_elsewhere_are_told(tmp_path, capsys):
    target = scan(tmp_path / "store" / "K1.nii.gz")
    (tmp_path / "in").mkdir()
    for name in ("sub-01.nii.gz", "sub-02.nii.gz"):
        (tmp_path / "in" / name).symlink_to(target)
    assert [path.name for path in find_images(str(tmp_path / "in"))] == ["sub-01.nii.gz"]
    assert "sub-02.nii.gz is the file of" in capsys.readouterr().err


def test_linked_folders_are_searched_and_circles_end(tmp_path):
    scan(tmp_path / "store" / "sub-01" / "T1w.nii.gz")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "sub-01").symlink_to(tmp_path / "store" / "sub-01")
    (tmp_path / "store" / "sub-01" / "back").symlink_to(tmp_path / "in")
    assert find_images(str(tmp_path / "in")) == [tmp_path / "in" / "sub-01" / "T1w.nii.gz"]


# --- permissions ------------------------------------------------------------------------------------------------------


@pytest.fixture
def as_user(tmp_path):
    """Runs a function as one who is not root, and gives what it raised; root may read everything."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and len(folder.parts) > 2:
            folder.chmod(0o755)
    if os.geteuid():

        def run(function):
            with pytest.raises(UserError) as caught:
                function()
            return str(caught.value)

        yield run
        return

    def run_child(function):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            said = "nothing was raised"
            try:
                os.setgid(65534)
                os.setuid(65534)
                function()
            except UserError as error:
                said = str(error)
            except BaseException as error:
                said = f"{type(error).__name__}: {error}"
            os.write(write, said.encode())
            os._exit(0)
        os.waitpid(child, 0)
        os.close(write)
        with os.fdopen(read, encoding="utf-8") as pipe:
            return pipe.read()

    yield run_child


def test_a_scan_a_folder_and_weights_that_may_not_be_read_are_one_sentence_each(tmp_path, as_user):
    folder = tmp_path / "in"
    closed, weights = scan(folder / "closed.nii.gz"), tmp_path / "model.pt"
    weights.write_bytes(b"weights")
    closed.chmod(0), weights.chmod(0)
    sentence = as_user(lambda: ImageTable(str(closed)))
    assert str(closed) in sentence and "Permission denied" in sentence and sentence.endswith("."), sentence
    sentence = as_user(lambda: ImageTable(str(folder)))
    assert str(closed) in sentence and "Permission denied" in sentence, sentence
    folder.chmod(0)
    for images in (folder, closed, folder / "*.nii.gz", [str(closed)]):
        sentence = as_user(lambda given=images: ImageTable(given if isinstance(given, list) else str(given)))
        assert str(folder) in sentence and ("Permission denied" in sentence or "fits no file" in sentence), sentence
    folder.chmod(0o755)
    sentence = as_user(lambda: ImageTable(str(folder), weights=str(weights)))
    assert str(weights) in sentence and "cannot be read (Permission denied)" in sentence, sentence


def test_a_closed_folder_among_the_scans_is_named_and_the_others_stay(tmp_path, as_user):
    scan(tmp_path / "in" / "a.nii.gz"), scan(tmp_path / "in" / "closed" / "b.nii.gz")
    (tmp_path / "in" / "closed").chmod(0)

    def look():
        table = ImageTable(str(tmp_path / "in"))
        raise UserError(f"{[table.cases[row] for row in table.rows]} {table.failures}")

    sentence = as_user(look)
    (tmp_path / "in" / "closed").chmod(0o755)
    assert sentence.startswith("['a'] ['") and f"{tmp_path / 'in' / 'closed'}" in sentence, sentence
    assert "Permission denied" in sentence


def test_an_output_folder_that_may_not_be_written_is_told_before_anything_runs(tmp_path, as_user):
    path = scan(tmp_path / "in" / "a.nii.gz")
    (tmp_path / "closed").mkdir(mode=0o555)
    for out in (tmp_path / "closed", tmp_path / "closed" / "deep" / "out"):
        sentence = as_user(lambda folder=out: ImageTable(str(path), output_dir=str(folder)))
        assert sentence.startswith(f"output folder {out} cannot be written") and "choose another folder" in sentence
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    with pytest.raises(UserError, match="output folder .* cannot be made .*file is no folder"):
        ImageTable(str(path), output_dir=str(tmp_path / "file" / "out"))
