"""A run of videos: AVI files with sidecars, tables, a preview in a loop, and reruns that skip what is complete."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from synthzoo.cases.requests import RequestTable
from synthzoo.errors import UserError
from synthzoo.io.videos import read_video, write_avi
from synthzoo.results.finalize import FinalizeDataset
from synthzoo.results.save import SaveResult
from synthzoo.results.video_preview import video_montage

EF = {"ef": {"type": "number", "minimum": 5, "maximum": 90, "unit": "%", "description": "ejection fraction"}}
SHAPE = (1, 16, 32, 32)


def requests(out, count=2, **kwargs):
    kwargs = {"values": {"ef": 55}, "suffix": "echo.avi", "bundle": "echo", "output_dir": out, **kwargs}
    return RequestTable(EF, num_samples=count, noise_shape=SHAPE, **kwargs)


def video_of(row):
    """A disc that beats, with a texture of the row's own noise; a little beyond [0, 1], as a network gives it."""
    y, x = torch.meshgrid(torch.arange(32.0) - 16, torch.arange(32.0) - 16, indexing="ij")
    radius = 8 + 3 * torch.cos(torch.arange(16.0) * 2 * torch.pi / 16)
    disc = (x**2 + y**2)[None] < radius[:, None, None] ** 2
    return (1.05 - disc.float())[None] * 0.8 + 0.02 * row["image"].clamp(-2, 2)


def test_a_case_is_an_avi_and_a_sidecar_that_says_what_was_requested(tmp_path):
    table = requests(tmp_path, 1)
    seen = []

    def measure(video, fps):
        seen.append((video.shape, video.dtype, float(video.min()) >= 0, float(video.max()) <= 1, fps))
        return {"ef": 54.5}

    row = table[0]
    SaveResult(table, fps=16, measure=measure)({**row, "pred": video_of(row)})
    video = read_video(tmp_path / "sub-0001" / "sub-0001_echo.avi")
    assert video.fps == 16 and video.frames.shape == (16, 32, 32)
    assert np.abs(video.frames - 255 * video_of(row)[0].clamp(0, 1).numpy()).mean() <= 2
    record = json.loads((tmp_path / "sub-0001" / "sub-0001_echo.json").read_text())
    assert record["requested"] == {"ef": 55} and record["measured"] == {"ef": 54.5} and record["units"] == {"ef": "%"}
    assert record["files"] == ["sub-0001_echo.avi"] and record["shape"] == [16, 32, 32]
    assert record["fps"] == 16 and record["seconds"] == 1
    assert seen == [((16, 32, 32), np.float32, True, True, 16.0)]


def test_a_rerun_skips_what_is_complete_and_gives_the_same_bytes(tmp_path):
    for folder, rows in (("a", (0, 2)), ("b", (0, 1, 2))):
        table = requests(tmp_path / folder, 3)
        for index in rows:
            SaveResult(table, fps=16)({**table[index], "pred": video_of(table[index])})
    again = requests(tmp_path / "a", 3)
    assert again.skipped == 2 and [again[n]["case"] for n in range(len(again))] == ["sub-0002"]
    SaveResult(again, fps=16)({**again[0], "pred": video_of(again[0])})
    FinalizeDataset(again)()
    FinalizeDataset(requests(tmp_path / "b", 3))()
    found = {folder: sorted(p for p in (tmp_path / folder).rglob("*") if p.is_file()) for folder in "ab"}
    assert [p.relative_to(tmp_path / "a") for p in found["a"]] == [p.relative_to(tmp_path / "b") for p in found["b"]]
    assert all(one.read_bytes() == two.read_bytes() for one, two in zip(found["a"], found["b"]))
    lines = (tmp_path / "a" / "participants.tsv").read_text().splitlines()
    assert lines[0].split("\t") == ["participant_id", "seed", "ef"] and len(lines) == 4
    with pytest.raises(UserError, match="was made from another request"):
        requests(tmp_path / "a", 3, values={"ef": 60})


def test_the_preview_loops_in_real_time_with_the_conditions_above(tmp_path):
    table = requests(tmp_path, 3, values={"ef": [30, 55, 70]})
    for index in range(3):
        SaveResult(table, fps=16)({**table[index], "pred": video_of(table[index])})
    FinalizeDataset(table, preview=2)()
    picture = Image.open(tmp_path / "preview.gif")
    assert picture.info["loop"] == 0 and not (tmp_path / "preview.png").exists()
    durations = [page.info["duration"] for page in ImageSequence.Iterator(picture)]
    assert sum(durations) == pytest.approx(1000, abs=60) and min(durations) >= 40
    pages = [np.asarray(page.convert("L")).astype(int) for page in ImageSequence.Iterator(picture)]
    text, below = pages[0][:20], pages[0][40:]
    assert text.max() > 200 and (text > 100).mean() < 0.2  # letters on black
    assert (
        all(np.array_equal(page[:20], text) for page in pages)
        and np.abs(pages[len(pages) // 2][40:] - below).max() > 150
    )
    assert pages[0].shape[1] < 3 * 230  # two cells, not three


def test_rates_and_lengths_may_differ_within_a_preview(tmp_path):
    dark, light = np.zeros((10, 40, 30), np.uint8), np.full((50, 300, 300), 200, np.uint8)
    dark[::2] = 90
    video_montage(
        [[dark, dark], [light]], ["a title that is far too long for one line of it", ""], [10, 50], tmp_path / "p.gif"
    )
    picture = Image.open(tmp_path / "p.gif")
    assert picture.size[0] > 300 and picture.n_frames > 1


def test_a_second_video_and_a_label_map_may_stand_beside_the_first(tmp_path):
    table = requests(tmp_path, 1)
    row, save = table[0], {"pred": "echo.avi", "factual": "factual.avi", "labels": "dseg.nii.gz"}
    calls = []
    measured = SaveResult(table, outputs=save, fps=16, measure=lambda video, fps: calls.append(fps) or {"ef": 1.0})
    video = video_of(row)
    measured({**row, "pred": video, "factual": video.flip(1), "labels": video > 0.5})
    FinalizeDataset(table, overlay="factual.avi")()
    folder = tmp_path / "sub-0001"
    assert (
        np.abs(read_video(folder / "sub-0001_factual.avi").frames[::-1] - 255 * video[0].clamp(0, 1).numpy()).mean() < 2
    )
    labels = np.asarray(nib.load(folder / "sub-0001_dseg.nii.gz").dataobj)
    assert labels.dtype == np.uint8 and np.array_equal(labels, (video[0] > 0.5).numpy())
    assert calls == [16.0] and Image.open(tmp_path / "preview.gif").n_frames > 1


def test_the_rate_may_come_with_the_sample(tmp_path):
    table = requests(tmp_path, 2)
    for index, fps in enumerate([torch.tensor(25.0), np.float32(50)]):
        SaveResult(table)({**table[index], "pred": video_of(table[index]), "fps": fps})
    assert [read_video(p).fps for p in sorted(tmp_path.rglob("*.avi"))] == [25, 50]


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda video: video * float("nan"), "NaN or Inf for sub-0001"),
        (lambda video: video * 255, "pred of sub-0001 lies between .* but a video must lie in \\[0, 1\\]"),
        (lambda video: video * 2 - 1.6, "must lie in \\[0, 1\\]: scale it in the postprocessing"),
        (lambda video: video.expand(3, -1, -1, -1), "but a grey video \\[1, T, H, W\\] is needed"),
    ],
)
def test_a_video_that_is_wrong_leaves_nothing(tmp_path, change, sentence):
    table = requests(tmp_path, 1)
    with pytest.raises(UserError, match=sentence):
        SaveResult(table, fps=16)({**table[0], "pred": change(video_of(table[0]))})
    assert not list(tmp_path.iterdir())


def test_a_missing_or_impossible_rate_is_said(tmp_path):
    table = requests(tmp_path, 1)
    with pytest.raises(UserError, match="fps of sub-0001 is None, but must be a number of frames per second"):
        SaveResult(table)({**table[0], "pred": video_of(table[0])})
    with pytest.raises(UserError, match="fps is 0, but must be"):
        SaveResult(table, fps=0)


def test_videos_of_a_data_set_stand_in_its_folders(tmp_path):
    table = requests(tmp_path, 1, folder="us")
    SaveResult(table, fps=16)({**table[0], "pred": video_of(table[0])})
    FinalizeDataset(table)()
    assert (tmp_path / "sub-0001" / "us" / "sub-0001_echo.avi").is_file() and (tmp_path / "preview.gif").is_file()


def test_a_broken_video_of_an_earlier_run_is_named_by_the_preview(tmp_path):
    table = requests(tmp_path, 1)
    SaveResult(table, fps=16)({**table[0], "pred": video_of(table[0])})
    path = tmp_path / "sub-0001" / "sub-0001_echo.avi"
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(UserError, match="sub-0001_echo.avi is cut short"):
        FinalizeDataset(requests(tmp_path, 1))()
    write_avi(path, video_of(table[0]).clamp(0, 1), 16)
    FinalizeDataset(requests(tmp_path, 1))()
