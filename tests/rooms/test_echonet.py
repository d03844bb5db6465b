"""EchoNet's layouts: rows, folds, tracings and masks, latents, clips, a writer that goes on after a kill, bad input."""

import os
import re
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from echo_export import tracing_mask

from synthzoo.datasets.echo.clips import ClipDataset, clip_positions, clip_step, pad_clip, read_clip
from synthzoo.datasets.echo.echonet import fold_splits, read_echonet, read_latents
from synthzoo.datasets.echo.tracings import outline, traced_area
from synthzoo.errors import UserError
from synthzoo.io.videos import read_video, write_avi
from synthzoo.results.echonet import EchoNetWriter, hashed_name

HEADER = "FileName,EF,ESV,EDV,FrameHeight,FrameWidth,FPS,NumberOfFrames,Split"
NAMES = [hashed_name(f"{n}:0:0") for n in range(4)]
LINES = [
    f"{NAMES[0]},78.498406,14.881368,69.210534,24,32,50,20,VAL",
    f"{NAMES[1]},59.101988,40.383876,98.742884,24,32,50,20,TRAIN",
    f"{NAMES[2]},55.0,,,24,32,50,20.0,TRAIN",
    f"{NAMES[3]},6.9,100,107.4,24,32,25,9,test",
]


def clip_of(count, seed=0, height=24, width=32):
    """Frame n has the grey level 10 n plus a seed, so that a frame tells its number."""
    return np.broadcast_to((10 * np.arange(count) + seed).astype(np.uint8)[:, None, None], (count, height, width))


def chords(cx, cy, rx, ry, count=20):
    """Long axis and chords of an ellipse, [count + 1, 4], from its upper end to its lower one."""
    y = cy + ry * np.linspace(-1, 1, 2 * count + 1)[1::2]
    half = rx * np.sqrt(1 - ((y - cy) / ry) ** 2)
    axis = [[cx, cy - ry, cx, cy + ry]]
    return np.concatenate([axis, np.stack([cx - half, y, cx + half, y], axis=1)])


def traced(name, frame, points):
    return [f"{name}.avi,{','.join(f'{x:.4f}' for x in line)},{frame}" for line in points]


@pytest.fixture
def folder(tmp_path):
    """Four videos in EchoNet-Dynamic's layout; two are traced, end-systole first."""
    for name, (count, fps) in zip(NAMES, [(20, 50), (20, 50), (20, 50), (9, 25)]):
        write_avi(tmp_path / "Videos" / f"{name}.avi", clip_of(count), fps)
    (tmp_path / "FileList.csv").write_text("\n".join([HEADER, *LINES]) + "\n")
    lines = ["FileName,X1,Y1,X2,Y2,Frame"]
    for name, (es, ed) in zip(NAMES, [(12, 3), (8, 15)]):
        lines += traced(name, es, chords(15, 11, 5, 8)) + traced(name, ed, chords(15, 11, 8, 9))
    lines += traced("0XABSENT", 3, chords(15, 11, 8, 9))  # the published table names videos that the list lacks
    (tmp_path / "VolumeTracings.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "phantom.csv").write_text("FileName,seed\n")  # readers pass over what they do not know
    return tmp_path


def test_rows_hold_volumes_rate_split_and_tracings(folder):
    rows = read_echonet(folder)
    assert [row["name"] for row in rows] == NAMES and [row["line"] for row in rows] == [2, 3, 4, 5]
    assert [row["split"] for row in rows] == ["validation", "train", "train", "test"]
    first, third = rows[0], rows[2]
    assert (first["ef"], first["esv"], first["edv"]) == (78.498406, 14.881368, 69.210534)
    assert (first["fps"], first["frames"], first["height"], first["width"]) == (50, 20, 24, 32)
    assert first["path"] == folder / "Videos" / f"{NAMES[0]}.avi" and first["fold"] is None
    assert list(first["tracings"]) == [12, 3] and first["tracings"][3].shape == (21, 4)
    assert (first["es_frame"], first["ed_frame"]) == (12, 3)
    assert third["esv"] is None and third["tracings"] == {} and third["es_frame"] is None
    assert [row["name"] for row in read_echonet(folder, split="TRAIN")] == NAMES[1:3]


def test_a_mask_covers_the_ellipse_that_was_traced():
    y, x = np.mgrid[:112, :112]
    for cx, cy, rx, ry in [(50.3, 55.1, 20, 33), (61, 40, 9.5, 14.2)]:
        tracing = chords(cx, cy, rx, ry)
        true = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 <= 1
        mask = tracing_mask(tracing, (112, 112))
        assert mask.dtype == np.uint8 and mask.shape == (112, 112)
        assert 2 * (mask * true).sum() / (mask.sum() + true.sum()) > 0.98
        assert traced_area(tracing) == pytest.approx(np.pi * rx * ry, rel=0.03)
        contour = outline(tracing)
        assert np.array_equal(tracing_mask(contour, (112, 112)), mask) and contour.shape == (40, 2)
    with pytest.raises(UserError, match="encloses no area"):
        tracing_mask(np.zeros((2, 4)), (8, 8))


def pediatric(folder):
    """The pediatric layout: names with .avi, folds in Split, contours, neither rate nor size in the list."""
    lines, contours = ["FileName,EF,Sex,Age,Weight,Height,Split"], ["FileName,X,Y,Frame"]
    for fold in range(10):
        name = f"CR{fold:08x}-CR{fold + 99:08x}-00003{fold}.avi"
        write_avi(folder / "Videos" / name, clip_of(12), 30)
        lines.append(f"{name},{40 + fold}.5,F,10,30.1,140,{fold}")
        contours += [f"{name},{x:.2f},{y:.2f},4" for x, y in outline(chords(15, 11, 5, 8))]
        contours += (
            [f"{name},0,0,No Systolic"] if fold % 2 else [f"{name},{x},{y},9" for x, y in [(2, 2), (9, 2), (9, 9)]]
        )
    (folder / "FileList.csv").write_text("\n".join(lines) + "\n")
    (folder / "VolumeTracings.csv").write_text("\n".join(contours) + "\n")
    return folder


def test_the_pediatric_layout_gives_folds_and_takes_rate_and_size_from_the_videos(tmp_path):
    rows = read_echonet(pediatric(tmp_path))
    assert [row["split"] for row in rows] == ["train"] * 8 + ["validation", "test"]
    assert [row["fold"] for row in rows] == list(range(10)) and rows[3]["patient"] == "CR00000003"
    assert all((r["fps"], r["frames"], r["height"], r["width"]) == (30, 12, 24, 32) for r in rows)
    assert rows[0]["tracings"][4].shape == (40, 2) and rows[0]["es_frame"] == 9 and rows[0]["ed_frame"] == 4
    assert list(rows[1]["tracings"]) == [4] and rows[1]["es_frame"] is None
    chosen = read_echonet(tmp_path, "test", validation_folds=[0], test_folds=[1, 2])
    assert [row["fold"] for row in chosen] == [1, 2]
    assert fold_splits([0], [1])[2] == "train"
    for folds in ([8, 8], [10], [-1]):
        with pytest.raises(UserError, match="must be different folds from 0 to 9"):
            fold_splits(folds, [9])
    text = (tmp_path / "FileList.csv").read_text().replace("CR00000009-", "CR00000001-")
    (tmp_path / "FileList.csv").write_text(text)
    (tmp_path / "Videos" / "CR00000009-CR0000006c-000039.avi").rename(
        tmp_path / "Videos" / "CR00000001-CR0000006c-000039.avi"
    )
    with pytest.raises(
        UserError, match="line 11, column Split: patient CR00000001 is in test here and in train in line 3"
    ):
        read_echonet(tmp_path)


def put(folder, line, column, text):
    """Replace one cell of FileList.csv."""
    lines = (folder / "FileList.csv").read_text().splitlines()
    cells = lines[line - 1].split(",")
    cells[HEADER.split(",").index(column)] = text
    lines[line - 1] = ",".join(cells)
    (folder / "FileList.csv").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    "line, column, text, sentence",
    [
        (3, "EF", "137", "137 percent does not lie between 0 and 100; correct the cell or remove the row"),
        (3, "EF", "-2", "-2 percent does not lie between 0 and 100"),
        (3, "EF", "high", "'high' is no number"),
        (3, "EF", "nan", "is empty; give the ejection fraction in percent"),
        (3, "EF", "inf", "does not lie between 0 and 100"),
        (2, "ESV", "70", "70 mL is more than EDV, 69.2105 mL"),
        (2, "FPS", "30", "30 is stated, but .* has 50; correct the cell, or empty it"),
        (2, "FPS", "0", "0 per second does not lie between 1 and 1000"),
        (2, "NumberOfFrames", "21", "21 is stated, but .* has 20"),
        (2, "NumberOfFrames", "12.5", "12.5 is no integer"),
        (2, "NumberOfFrames", "0", "0 does not lie between 1"),
        (2, "FrameHeight", "32", "32 is stated, but .* has 24"),
        (4, "Split", "holdout", "'holdout' is neither TRAIN, VAL or TEST nor a fold from 0 to 9"),
        (4, "Split", "10", "'10' is neither"),
        (4, "FileName", "../x", "'../x' is no name of a video"),
        (4, "FileName", "0XNONE", "Videos/0XNONE.avi does not exist; add the file or remove the row"),
        (4, "FileName", NAMES[0], "stands already in line 2; keep one"),
    ],
)
def test_a_wrong_cell_is_named_by_file_line_and_column(folder, line, column, text, sentence, capsys):
    put(folder, line, column, text)
    where = re.escape(f"FileList.csv line {line}, column {column}: ")
    with pytest.raises(UserError, match=f"{where}.*{sentence}") as caught:
        read_echonet(folder)
    assert "\n" not in str(caught.value)
    assert len(read_echonet(folder, leave_out=True)) == 3  # the others are good
    assert re.search(f"warning: left out: .*{where}", capsys.readouterr().err)


def test_what_a_list_says_wrongly_may_be_taken_from_the_videos(folder):
    """A published set of synthetic videos has heights and frame counts in each other's place."""
    for line in range(2, 6):
        put(folder, line, "NumberOfFrames", "8")
        put(folder, line, "FrameHeight", "128")
    rows = read_echonet(folder, trust="videos", leave_out=True)
    assert [(row["frames"], row["height"]) for row in rows] == [(20, 24)] * 3 + [(9, 24)]


def test_a_table_that_is_missing_or_no_table_is_one_sentence(folder):
    path = folder / "FileList.csv"
    whole = path.read_text()
    fractions = "\n".join([HEADER, *(f"{name},0.{n + 4},,,24,32,,,TRAIN" for n, name in enumerate(NAMES))])
    for text, sentence in {
        "": "is empty: an EchoNet list has FileName,EF,",
        HEADER + "\n": "has a header but no rows",
        whole.replace(",EF,", ",LVEF,"): "line 1: has no column EF; an EchoNet list has",
        whole.replace(",Split", ""): "line 1: has no column Split",
        whole.replace("ESV,EDV", "EDV,EDV"): "line 1: column edv stands twice",
        whole.replace(",VAL", ",VAL,more"): "line 2: has 10 cells, but the header names 9 columns",
        fractions: "column EF: all values lie between 0 and 1, but EF is in percent: multiply by 100",
    }.items():
        path.write_text(text)
        with pytest.raises(UserError, match=sentence) as caught:
            read_echonet(folder)
        assert "FileList.csv" in str(caught.value) and "\n" not in str(caught.value)
    path.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(UserError, match="is not UTF-8 text"):
        read_echonet(folder)
    path.unlink()
    with pytest.raises(UserError, match="FileList.csv does not exist: dataset_dir is a folder with"):
        read_echonet(folder)


def test_a_wrong_tracing_is_named_by_line_and_column(folder, capsys):
    path = folder / "VolumeTracings.csv"
    whole = path.read_text().splitlines()
    for number, change, sentence in [
        (2, lambda s: s.rsplit(",", 1)[0] + ",20", "line 2, column Frame: 20 is traced, but .* has the frames 0 to 19"),
        (5, lambda s: s.replace(s.split(",")[2], "x"), "line 5, column Y1: 'x' is no number"),
        (1, lambda s: s.replace("X2", "Q"), "line 1: has no column X2; the columns are"),
        (4, lambda s: s.replace(s.split(",")[1], ""), "line 4: has an empty cell"),
    ]:
        lines = list(whole)
        lines[number - 1] = change(lines[number - 1])
        path.write_text("\n".join(lines) + "\n")
        with pytest.raises(UserError, match=f"VolumeTracings.csv {sentence}"):
            read_echonet(folder)
        if number > 1:  # the frame is left out, not the video
            rows = read_echonet(folder, leave_out=True)
            assert len(rows) == 4 and sorted(rows[0]["tracings"]) == ([3, 12] if number == 2 else [3])
            assert "VolumeTracings.csv line" in capsys.readouterr().err


def test_latents_stand_beside_the_list(folder):
    for name, count in zip(NAMES, (20, 20, 20, 9)):
        (folder / "Latents").mkdir(exist_ok=True)
        torch.save(
            torch.arange(count)[:, None, None, None].expand(count, 4, 14, 14).half(), folder / "Latents" / f"{name}.pt"
        )
    rows = read_echonet(folder, source="Latents")
    assert rows[0]["path"].name == f"{NAMES[0]}.pt" and read_latents(rows[0]["path"], 20).dtype == torch.float32
    clip = read_clip(rows[0], 4, stride=3)
    assert clip["image"].shape == (4, 4, 14, 14) and clip["image"][0, :, 0, 0].tolist() == [5, 8, 11, 14]
    assert ClipDataset(rows, 4)[0]["latents"].shape == (4, 4, 14, 14)
    path = rows[0]["path"]
    for value, sentence in {
        "text": "cannot be read as a plain tensor",
        "short": "hold 7 frames, but NumberOfFrames is 20",
        "flat": r"hold \(20, 4\), but a float tensor",
        "nan": "hold NaN or Inf",
        "code": "cannot be read as a plain tensor",
        "cut": "cannot be read as a plain tensor",
    }.items():
        if value == "text":
            path.write_text("no tensor")
        elif value == "cut":
            torch.save(torch.zeros(20, 4, 14, 14), path)
            path.write_bytes(path.read_bytes()[:5000])
        else:
            held = {"short": torch.zeros(7, 4, 2, 2), "flat": torch.zeros(20, 4), "code": re.compile("x")}
            torch.save(held.get(value, torch.full((20, 4, 2, 2), float("nan"))), path)
        with pytest.raises(UserError, match=sentence):
            read_latents(path, 20)
    path.unlink()
    with pytest.raises(UserError, match="Latents/.*does not exist"):
        read_echonet(folder, source="Latents")


def test_windows_lie_within_the_video_and_every_start_occurs():
    rng = np.random.default_rng(0)
    starts = {clip_positions(20, 8, 2.0, rng=rng)[0] for _ in range(400)}
    assert starts == set(range(6))
    step = clip_step(50, 32, 1)
    for _ in range(200):
        positions = clip_positions(120, 64, step, rng=rng)
        assert len(positions) == 64 and positions[0] >= 0 and positions[-1] <= 119
        assert np.allclose(np.diff(positions), 50 / 32)
    assert clip_positions(20, 4).tolist() == [8, 9, 10, 11]
    assert clip_positions(100, 64, step)[0] == (99 - 63 * 50 / 32) / 2
    assert len(clip_positions(50, 64, step)) == 32  # one second at 32 frames per second
    assert clip_positions(10, 4, 3.0).tolist() == [0, 3, 6, 9]  # fits exactly
    for es, ed in [(3, 9), (0, 7), (19, 12)]:
        for draw in (None, rng):
            positions = clip_positions(20, 8, 1.0, (es, ed), draw)
            assert positions[0] <= min(es, ed) and positions[-1] >= max(es, ed) and len(positions) == 8
    assert clip_positions(100, 11, 2.0, (40, 50)).tolist() == list(range(35, 56, 2))
    with pytest.raises(UserError, match="frames 3 and 12 lie further apart than a clip of 8 frames"):
        clip_positions(20, 8, 1.0, (12, 3))


def test_a_clip_is_resampled_padded_and_only_its_frames_are_read(folder, monkeypatch):
    row = read_echonet(folder)[0]
    whole = read_video(row["path"]).frames.astype(np.float32) / 255
    requested = []
    monkeypatch.setattr(
        "synthzoo.datasets.echo.clips.read_video", lambda *a, **k: requested.append(list(a[1])) or read_video(*a, **k)
    )
    clip = read_clip(row, 5, stride=2)
    assert clip["image"].shape == (1, 5, 24, 32) and clip["image"].dtype == np.float32
    assert np.array_equal(clip["image"][0], whole[5:15:2]) and requested == [[5, 7, 9, 11, 13]]
    mixed = read_clip(row, 10, target_fps=40, linear=True)  # frames 4.. in steps of 1.25
    place = mixed["positions"]
    expected = (
        whole[place.astype(int)] * (1 - place % 1)[:, None, None]
        + whole[place.astype(int) + 1] * (place % 1)[:, None, None]
    )
    assert np.allclose(mixed["image"][0], expected, atol=1e-6)
    short = read_clip(row, 16, target_fps=32)
    assert short["valid"] == 13 and not short["image"][0, 13:].any() and short["image"][0, 12].any()
    last = read_clip(row, 16, target_fps=32, padding="last")["image"][0]
    assert np.array_equal(last[15], last[12])
    with pytest.raises(UserError, match="gives 13 of the 16 frames requested: request at most 13, or give a longer"):
        read_clip(row, 16, target_fps=32, padding="refuse")
    for settings, sentence in [
        ({"stride": 0}, "stride is 0"),
        ({"target_fps": -1}, "target_fps is -1"),
        ({"padding": "loop"}, "padding is 'loop'"),
    ]:
        with pytest.raises(UserError, match=sentence):
            read_clip(row, 16, **settings)
    assert len(pad_clip(np.zeros((9, 2)), 4, "refuse")) == 4


def test_clips_come_as_rows_with_the_keys_of_the_phantoms(folder):
    rows = read_echonet(folder)
    data = ClipDataset(rows, 8, hold_beat=True, random=False)
    assert len(data) == 1  # the other video's traced frames lie too far apart, two videos have none
    row = data[0]
    assert row["video"].shape == (1, 8, 24, 32) and float(row["ef"]) == pytest.approx(0.59101988)
    assert row["es_frame"] == 0 and row["ed_frame"] == 7 and row["valid"] == 8 and float(row["fps"]) == 50
    assert float(row["edv_ml"]) == pytest.approx(98.742884)
    dropped = ClipDataset(rows, 12, shorter="drop")
    assert [row["name"] for row in dropped.rows] == NAMES[:3]
    plain = ClipDataset(rows, 12)
    assert (
        len(plain) == 4
        and plain[3]["valid"] == 9
        and plain[3]["ed_frame"] == -1
        and np.isnan(float(plain[2]["edv_ml"]))
    )
    torch.manual_seed(0)
    first = [plain[0]["video"][0, 0, 0, 0].item() for _ in range(20)]
    torch.manual_seed(0)
    assert [plain[0]["video"][0, 0, 0, 0].item() for _ in range(20)] == first and len(set(first)) > 4
    batch = next(iter(torch.utils.data.DataLoader(plain, batch_size=4)))
    assert batch["video"].shape == (4, 1, 12, 24, 32) and batch["patient"].tolist() == [0, 1, 2, 3]
    with pytest.raises(UserError, match="none of the 4 videos gives a clip of 99 frames"):
        ClipDataset(rows, 99, shorter="drop")


def made(writer, number, count=20):
    small, large = chords(15, 11, 5, 8), chords(15, 11, 8, 9)
    return writer.add(
        NAMES[number],
        clip_of(count, number),
        fps=50,
        ef=50.123456789 + number,
        split=["train", "validation", "test", "train"][number],
        esv=40.5,
        edv=81.0,
        tracings={3: large, 12: small},
        latents=torch.full((count, 4, 3, 3), float(number)),
        extra={"patient": number, "phase": 0.25},
    )


def test_what_the_writer_leaves_is_the_published_layout_and_reads_back(tmp_path):
    with EchoNetWriter(tmp_path, extra_table="phantom.csv") as writer:
        assert all(made(writer, number) for number in range(4))
    lines = (tmp_path / "FileList.csv").read_text().splitlines()
    assert lines[0] == HEADER and lines[2] == f"{NAMES[1]},51.123456789,40.5,81,24,32,50,20,VAL"
    traced_lines = (tmp_path / "VolumeTracings.csv").read_text().splitlines()
    assert traced_lines[0] == "FileName,X1,Y1,X2,Y2,Frame" and len(traced_lines) == 1 + 4 * 42
    cells = [line.split(",") for line in traced_lines[1:43]]
    assert {cell[0] for cell in cells} == {f"{NAMES[0]}.avi"}
    assert [cell[5] for cell in cells] == ["12"] * 21 + ["3"] * 21  # end-systole before end-diastole
    assert cells[0][1:5] == ["15", "3", "15", "19"]  # the long axis is first
    assert (tmp_path / "phantom.csv").read_text().splitlines()[:2] == ["FileName,patient,phase", f"{NAMES[0]},0,0.25"]
    assert re.fullmatch("0X[0-9A-F]{16}", NAMES[0])
    rows = read_echonet(tmp_path)
    assert [row["ef"] for row in rows] == [50.123456789 + n for n in range(4)]
    assert rows[0]["es_frame"] == 12 and np.allclose(rows[0]["tracings"][12], chords(15, 11, 5, 8), atol=1e-4)
    assert np.abs(read_video(rows[2]["path"]).frames.astype(int) - clip_of(20, 2)).max() <= 2
    assert read_latents(tmp_path / "Latents" / f"{NAMES[3]}.pt", 20)[0, 0, 0, 0] == 3
    assert not list(tmp_path.rglob(".*"))


def test_a_rerun_skips_what_is_complete_and_ends_with_the_same_bytes(tmp_path):
    for folder in ("a", "b"):
        with EchoNetWriter(tmp_path / folder, extra_table="phantom.csv") as writer:
            [made(writer, number) for number in range(4 if folder == "a" else 2)]
    with EchoNetWriter(tmp_path / "b", extra_table="phantom.csv") as writer:
        assert len(writer) == 2 and NAMES[1] in writer and NAMES[2] not in writer
        assert [made(writer, number) for number in range(4)] == [False, False, True, True]
    files = {f: sorted(p for p in (tmp_path / f).rglob("*") if p.is_file() and p.suffix != ".pt") for f in "ab"}
    assert len(files["a"]) == len(files["b"]) == 7
    assert all(one.read_bytes() == two.read_bytes() for one, two in zip(files["a"], files["b"]))
    (tmp_path / "b" / "Videos" / f"{NAMES[0]}.avi").unlink()
    with EchoNetWriter(tmp_path / "b", extra_table="phantom.csv") as writer:
        assert NAMES[0] not in writer and made(writer, 0)
        with pytest.raises(UserError, match="is there with NumberOfFrames 20, but 15 is to be written"):
            made(writer, 1, count=15)
    assert (tmp_path / "b" / "FileList.csv").read_bytes() == (tmp_path / "a" / "FileList.csv").read_bytes()


def test_a_killed_run_loses_no_complete_clip(tmp_path):
    program = textwrap.dedent(
        f"""
        import os, signal, sys
        sys.path[:0] = {[os.path.dirname(__file__), os.path.dirname(os.path.dirname(__file__))]!r}
        import test_echonet as t
        writer = t.EchoNetWriter({str(tmp_path)!r}, extra_table="phantom.csv")
        t.made(writer, 0), t.made(writer, 1)
        with open(writer.journal, "a") as file:
            file.write('{{"name": "half')
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    ended = subprocess.run([sys.executable, "-c", program], check=False)
    assert ended.returncode == -signal.SIGKILL and not (tmp_path / "FileList.csv").exists()
    half = tmp_path / "Videos" / ".tmp1_half.avi"
    half.write_bytes(b"RIFF")
    writer = EchoNetWriter(tmp_path, extra_table="phantom.csv")
    assert [made(writer, number) for number in range(3)] == [False, False, True]
    writer.close()
    assert [row["name"] for row in read_echonet(tmp_path)] == NAMES[:3] and not half.exists()
    assert len((tmp_path / "VolumeTracings.csv").read_text().splitlines()) == 1 + 3 * 42


def test_two_processes_fill_one_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    writers = []
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        writers.append(EchoNetWriter(tmp_path))
        made(writers[rank], rank)
    for rank in (1, 0):
        monkeypatch.setenv("RANK", str(rank))
        writers[rank].close()
    assert sorted(row["name"] for row in read_echonet(tmp_path)) == sorted(NAMES[:2])


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"ef": 120}, "EF is 120, but must lie between 0 and 100 percent"),
        ({"ef": float("nan")}, "EF is nan"),
        ({"split": "dev"}, "split is 'dev', but must be train"),
        ({"edv": -5}, "EDV is -5"),
        ({"name": "a/b"}, "'a/b' is no name of a video"),
        ({"frames": np.zeros((4, 4))}, r"but \(T, H, W\) is needed"),
        ({"frames": np.full((4, 8, 8), 3.0)}, r"must lie in \[0, 1\]"),
        ({"tracings": {9: chords(3, 3, 2, 2)}}, "frame 9 is traced, but the video has the frames 0 to 3"),
        ({"tracings": {1: np.zeros((3, 2))}}, "must be finite"),
        ({"fps": 0}, "fps is 0"),
    ],
)
def test_a_clip_that_is_wrong_leaves_nothing(tmp_path, change, sentence):
    with EchoNetWriter(tmp_path) as writer:
        with pytest.raises(UserError, match=sentence):
            writer.add(**{"name": "x", "frames": clip_of(4), "fps": 50, "ef": 50, "split": "train", **change})
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
