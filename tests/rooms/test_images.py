"""Each way in which an input volume can be wrong gives one sentence that names it."""

import numpy as np
import pytest
import torch
from bad_images import SENTENCES, bad_empty, bad_nan, save
from monai.transforms import Compose

from synthzoo.cases.images import ImageTable, LoadVolumed, case_names, check_volume, find_images
from synthzoo.errors import UserError, find_user_error


@pytest.fixture
def volume():
    return np.random.default_rng(0).random((6, 7, 8), dtype=np.float32)


@pytest.mark.parametrize("make", SENTENCES, ids=lambda make: make.__name__)
def test_a_bad_volume_gives_one_sentence_that_names_the_file(make, tmp_path, volume):
    path = make(tmp_path, volume)
    with pytest.raises(UserError) as caught:
        check_volume(path)
    sentence = str(caught.value)
    assert SENTENCES[make] in sentence and str(path) in sentence and "\n" not in sentence


def test_several_channels_are_read_where_the_network_takes_them(tmp_path, volume):
    path = save(tmp_path / "two.nii.gz", np.stack([volume, volume + 1], -1))
    assert LoadVolumed("image", channels=2)({"image": path})["image"].shape == (2, 6, 7, 8)
    with pytest.raises(UserError, match="has 2 channels, but the network takes 4"):
        check_volume(path, channels=4)
    with pytest.raises(UserError, match="has 1 channel, but the network takes 2"):
        check_volume(save(tmp_path / "one.nii.gz", volume), channels=2)


def test_a_good_volume_is_read_as_monai_reads_it(tmp_path, volume):
    from monai.transforms import LoadImage

    path = save(tmp_path / "scan.nii.gz", (volume * 1000).astype(np.int16))
    ours = LoadVolumed("image")({"image": str(path)})["image"]
    stock = LoadImage(image_only=True, ensure_channel_first=True)(path)
    assert ours.dtype == torch.float32 and ours.shape == (1, 6, 7, 8)
    assert torch.equal(ours.as_tensor(), stock.as_tensor().float())
    assert torch.allclose(ours.affine, stock.affine)
    single_series = save(tmp_path / "trailing.nii.gz", volume[..., None])
    assert LoadVolumed("image")({"image": single_series})["image"].shape == (1, 6, 7, 8)


def test_the_sentence_survives_monai_compose(tmp_path, volume):
    with pytest.raises(Exception) as caught:
        Compose([LoadVolumed("image")])({"image": bad_nan(tmp_path, volume)})
    assert isinstance(find_user_error(caught.value), UserError)


def test_path_list_folder_and_pattern_name_the_same_volumes(tmp_path, volume):
    a, b = save(tmp_path / "in" / "a.nii.gz", volume), save(tmp_path / "in" / "deep" / "b.nii", volume)
    (tmp_path / "in" / "notes.txt").write_text("not counted")
    save(tmp_path / "in" / "out" / "a" / "a_heatmap.nii.gz", volume)
    exclude = tmp_path / "in" / "out"
    assert find_images(str(a)) == [a]
    assert find_images([str(a), b, a]) == [a, b]
    assert find_images(tmp_path / "in", exclude) == [a, b]
    assert find_images(str(tmp_path / "in" / "**" / "*.nii*"), exclude) == [a, b]


@pytest.mark.parametrize(
    "images, sentence",
    [
        ("", "images is ''"),
        (None, "images is None"),
        ([], "is an empty list"),
        (7, "images is 7"),
        ("no*.nii", "fits no file"),
    ],
)
def test_no_images_at_all_gives_one_sentence(images, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        find_images(images)
    assert sentence in str(caught.value)


def test_an_empty_folder_gives_one_sentence(tmp_path):
    with pytest.raises(UserError, match="holds no .nii, .nii.gz or DICOM files"):
        ImageTable(tmp_path)


def test_equal_names_in_different_folders_stay_apart(tmp_path):
    paths = [tmp_path / "s1" / "anat" / "T1w.nii.gz", tmp_path / "s2" / "anat" / "T1w.nii.gz", tmp_path / "other.nii"]
    assert case_names(paths) == ["s1_anat_T1w", "s2_anat_T1w", "other"]
    assert (
        case_names([tmp_path / "a.nii", tmp_path / "a.nii.gz"])[0]
        != case_names([tmp_path / "a.nii", tmp_path / "a.nii.gz"])[1]
    )


def test_one_bad_file_of_many_is_named_and_the_others_stay(tmp_path, volume, capsys):
    save(tmp_path / "a.nii.gz", volume), save(tmp_path / "c.nii.gz", volume)
    bad_nan(tmp_path, volume.copy())
    table = ImageTable(
        [str(tmp_path / "a.nii.gz"), str(tmp_path / "nan.nii.gz"), str(tmp_path / "absent.nii"), tmp_path / "c.nii.gz"]
    )
    assert [item["case"] for item in (table[0], table[1])] == ["a", "c"] and len(table) == 2
    assert len(table.failures) == 2 and "NaN" in table.failures[0] and "does not exist" in table.failures[1]
    assert capsys.readouterr().err.count("warning: left out: image ") == 2


def test_only_bad_files_end_the_run_at_once(tmp_path, volume):
    bad_nan(tmp_path, volume), bad_empty(tmp_path, volume)
    with pytest.raises(UserError, match="none of the 2 images can be used"):
        ImageTable(tmp_path)
    with pytest.raises(UserError, match="NaN"):
        ImageTable(tmp_path / "nan.nii.gz")


def test_the_record_names_the_file_but_not_its_folder(tmp_path, volume):
    path = save(tmp_path / "John Smith" / "scan.nii.gz", volume)
    table = ImageTable(path)
    assert "John" not in str(table.request(0)) and table.request(0)["input"]["name"] == "scan.nii.gz"


def test_dicom_is_read_or_the_missing_package_is_named(tmp_path):
    folder = tmp_path / "series"
    folder.mkdir()
    (folder / "1.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 32)
    assert find_images(tmp_path) == [folder]
    with pytest.raises(UserError, match="needs pydicom|is not one readable DICOM series"):
        check_volume(folder)
