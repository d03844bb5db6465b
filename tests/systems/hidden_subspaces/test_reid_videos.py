"""Videos for an audit: which files count, how they are read, and what is said of those that cannot be."""

import nibabel as nib
import numpy as np
import pytest
import torch
from echo_export import export_phantoms
from PIL import Image

from synthzoo.errors import UserError
from synthzoo.io.videos import write_avi
from synthzoo.phantoms.echo.sets import list_videos
from synthzoo.systems.hidden_subspaces.videos import (
    FolderVideos,
    find_videos,
    pair_videos,
    read_frames,
    spread,
    training_videos,
)

VIDEO = np.random.default_rng(0).integers(0, 255, (6, 16, 16)).astype(np.uint8)


def write_all(folder):
    write_avi(folder / "a.avi", VIDEO, 8)
    nib.save(nib.Nifti1Image(VIDEO.astype(np.float32), np.eye(4)), folder / "b.nii.gz")
    Image.fromarray(VIDEO[0]).save(folder / "c.png")
    return folder


def test_avi_nifti_and_png_give_the_same_frames(tmp_path):
    write_all(tmp_path)
    video, fps = read_frames(tmp_path / "a.avi")
    assert video.shape == (6, 1, 16, 16) and fps == 8
    volume, _ = read_frames(tmp_path / "b.nii.gz")
    frame, _ = read_frames(tmp_path / "c.png")
    assert (volume - video).abs().mean() < 0.02
    assert torch.allclose(frame[0], volume[0])
    chosen, _ = read_frames(tmp_path / "a.avi", which=lambda count: spread(count, 2))
    assert torch.equal(chosen, video[[0, 5]])


def test_pictures_and_label_maps_beside_videos_do_not_count_and_pictures_alone_do(tmp_path):
    case = tmp_path / "zoo" / "sub-0001"
    case.mkdir(parents=True)
    write_avi(case / "sub-0001_echo.avi", VIDEO, 8)
    nib.save(nib.Nifti1Image(VIDEO, np.eye(4)), case / "sub-0001_dseg.nii.gz")
    Image.fromarray(VIDEO[0]).save(tmp_path / "zoo" / "preview.png")
    assert [path.name for path in find_videos(tmp_path / "zoo")] == ["sub-0001_echo.avi"]
    for name in ("x.png", "y.png"):
        (tmp_path / "frames").mkdir(exist_ok=True)
        Image.fromarray(VIDEO[0]).save(tmp_path / "frames" / name)
    assert len(find_videos(tmp_path / "frames")) == 2
    with pytest.raises(UserError, match="holds no"):
        find_videos(tmp_path / "zoo", channels=4)


def test_latents_have_four_channels_and_pictures_one(tmp_path):
    torch.save(torch.rand(5, 4, 14, 14), tmp_path / "video.pt")
    videos = FolderVideos(find_videos(tmp_path, channels=4), size=[14, 14], channels=4)
    assert videos.frames(0, lambda count: spread(count, 3)).shape == (3, 4, 14, 14)
    with pytest.raises(UserError, match="has 4 channels, but this network takes 1"):
        read_frames(tmp_path / "video.pt")


def test_a_data_set_in_echonet_s_layout_gives_training_and_unseen_videos_by_its_splits(tmp_path):
    videos = [video for split, n in (("TRAIN", 3), ("VAL", 2), ("TEST", 2)) for video in list_videos("tiny", split, n)]
    export_phantoms(tmp_path, "tiny", videos)
    training, unseen = (training_videos(tmp_path, part) for part in ("train", "unseen"))
    assert len(training) == 3 and len(unseen) == 4 and not set(training.names) & set(unseen.names)
    assert training.frames(0).shape == (16, 1, 32, 32)
    assert len(pair_videos("echonet", tmp_path)) == 3
    assert len(find_videos(tmp_path)) == 7, "as a generator's output every video counts"


def test_other_folders_name_unseen_videos_apart(tmp_path):
    write_avi(tmp_path / "a.avi", VIDEO, 8)
    assert training_videos(tmp_path, "unseen") is None
    assert len(training_videos(tmp_path, "unseen", unseen_dir=str(tmp_path))) == 1
    assert training_videos(tmp_path).frames(0).shape[-2:] == (32, 32)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: path.with_suffix(".png").write_bytes(b"no picture"), "is no picture"),
        (lambda path: path.with_suffix(".avi").write_bytes(b"no video"), "video.avi"),
        (lambda path: path.mkdir(), "folder of DICOM slices, which have no order in time"),
        (lambda path: path.with_suffix(".pt").write_bytes(b"no tensor"), "cannot be read as a plain tensor"),
    ],
)
def test_a_file_that_is_no_video_is_named(tmp_path, make, sentence):
    make(tmp_path / "video")
    with pytest.raises(UserError, match=sentence):
        read_frames(next(tmp_path.iterdir()))


def test_pairs_of_unknown_formats_are_told(tmp_path):
    with pytest.raises(UserError, match="data_format = 'csv'"):
        pair_videos("csv")
    with pytest.raises(UserError, match=r"has no FileList.csv"):
        pair_videos("echonet", tmp_path)
