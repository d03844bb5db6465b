"""Results are written by the kind of their ending, and a new kind touches its own module alone."""

import json
from io import BytesIO

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from synthzoo.cases.images import ImageTable
from synthzoo.cases.requests import RequestTable
from synthzoo.errors import UserError
from synthzoo.io.marks import read_mark
from synthzoo.io.mp4 import mp4_bytes
from synthzoo.results import kinds
from synthzoo.results.finalize import FinalizeDataset
from synthzoo.results.kinds import kind_of, volume
from synthzoo.results.kinds.base import Content, Kind
from synthzoo.results.save import SaveResult


class OfImages(RequestTable):
    """Requests that say that they came with an image, as an `ImageTable`'s rows do."""

    def record(self, row):
        return {**super().record(row), "input": {"name": "a.png", "sha256": "0"}}


def table_of(folder, suffix, table=RequestTable, **kwargs):
    kwargs = {"num_samples": 2, "noise_shape": (1, 24, 20), "bundle": "b", "output_dir": folder, **kwargs}
    return table({}, {}, suffix=suffix, **kwargs)


def ramp(height=24, width=20):
    return torch.linspace(0, 1, height * width).reshape(1, height, width)


def test_a_grey_image_has_sixteen_bits_and_its_mark(tmp_path):
    table = table_of(tmp_path, "cxr.png")
    seen = []
    save = SaveResult(table, pixel_mm=1.4, measure=lambda image, mm: seen.append((image.shape, mm)) or {"n": 1})
    for row in range(2):
        save({**table[row], "pred": ramp()})
    path = tmp_path / "sub-0001" / "sub-0001_cxr.png"
    held = np.asarray(Image.open(path))
    assert held.dtype == np.uint16 and np.array_equal(held, np.rint(65535 * ramp()[0].numpy()))
    record = json.loads(path.with_suffix(".json").read_text())
    assert record["Synthetic"] is True and record["shape"] == [24, 20] and record["spacing_mm"] == [1.4, 1.4]
    assert read_mark(path).record["seed"] == record["seed"] and seen[0] == ((24, 20), 1.4)
    FinalizeDataset(table)()
    assert read_mark(tmp_path / "preview.png").synthetic and Image.open(tmp_path / "preview.png").size[0] > 200
    assert table_of(tmp_path, "cxr.png").skipped == 2


def test_a_map_of_an_image_has_its_overlay_and_is_not_called_synthetic(tmp_path):
    table = table_of(tmp_path, "heatmap.png", OfImages)
    heat = torch.zeros(1, 24, 20)
    heat[0, 8:12, 5:9] = 1
    outputs = {"pred": "heatmap.png", "dseg": "dseg.png"}
    SaveResult(table, outputs)({**table[0], "image": ramp(), "pred": heat, "dseg": 3 * heat})
    folder = tmp_path / "sub-0001"
    overlay = np.asarray(Image.open(folder / "sub-0001_heatmap_overlay.png")).astype(int)
    grey = np.rint(255 * ramp()[0].numpy())
    outside = heat[0].numpy() == 0
    assert overlay.shape == (24, 20, 3) and np.array_equal(overlay[outside], np.stack([grey] * 3, -1)[outside])
    assert np.abs(overlay[~outside] - grey[~outside][:, None]).max() > 50
    labels = np.asarray(Image.open(folder / "sub-0001_dseg.png"))
    assert labels.dtype == np.uint8 and np.array_equal(labels, 3 * heat[0].numpy())
    record = json.loads((folder / "sub-0001_heatmap.json").read_text())
    assert "Synthetic" not in record and record["DerivedBy"] == "b"
    names = [f"sub-0001_{name}.png" for name in ("heatmap", "heatmap_overlay", "dseg", "dseg_overlay")]
    assert record["files"] == names
    assert all(read_mark(folder / name).synthetic is False for name in names)
    FinalizeDataset(table)()
    assert not read_mark(tmp_path / "preview.png").synthetic


def test_an_image_made_from_an_image_is_synthetic_and_a_map_beside_it_is_not(tmp_path):
    table = table_of(tmp_path, "T1w.png", OfImages)
    SaveResult(table, {"pred": "T1w.png", "heat": "heatmap.png"})({**table[0], "pred": ramp(), "heat": ramp()})
    found = {path.name: read_mark(path).synthetic for path in (tmp_path / "sub-0001").glob("*.png")}
    assert found.pop("sub-0001_T1w.png") is True and set(found.values()) == {False}
    SaveResult(table, {"pred": "T1w.png", "same": "factual.png"}, derived=["same"])(
        {**table[1], "pred": ramp(), "same": ramp()}
    )
    found = {path.name: str(read_mark(path)) for path in (tmp_path / "sub-0002").glob("*.png")}
    seed = json.loads((tmp_path / "sub-0002" / "sub-0002_T1w.json").read_text())["seed"]
    assert found["sub-0002_T1w.png"] == f"synthetic, by b, seed {seed}, made from an image"
    assert found["sub-0002_factual.png"] == "derived from an image, by b"
    # Of a generated image the label map is generated too.
    table = table_of(tmp_path / "b", "T1w.png")
    SaveResult(table, {"pred": "T1w.png", "d": "dseg.png"})({**table[0], "pred": ramp(), "d": ramp().round()})
    assert all(read_mark(path).synthetic for path in (tmp_path / "b" / "sub-0001").glob("*.png"))


def test_colour_images_have_three_times_eight_bits(tmp_path):
    table = table_of(tmp_path, "rgb.png")
    SaveResult(table)({**table[0], "pred": ramp().repeat(3, 1, 1)})
    assert np.asarray(Image.open(tmp_path / "sub-0001" / "sub-0001_rgb.png")).shape == (24, 20, 3)


@pytest.mark.parametrize(
    "value, sentence",
    [
        (torch.full((1, 24, 20), float("nan")), "NaN or Inf for sub-0001"),
        (255 * ramp(), "pred of sub-0001 lies between 0 and 255, but an image must lie in"),
        (torch.zeros(2, 24, 20), "has the shape \\(2, 24, 20\\), but an image"),
    ],
)
def test_an_image_that_is_wrong_leaves_nothing(value, sentence, tmp_path):
    table = table_of(tmp_path, "cxr.png")
    with pytest.raises(UserError, match=sentence):
        SaveResult(table)({**table[0], "pred": value})
    assert not list(tmp_path.rglob("*"))


def test_an_mp4_plays_with_its_rate_and_repeats_bit_for_bit(tmp_path):
    import av

    y, x = np.mgrid[:33, :41]
    frames = np.stack([np.uint8(127 + 100 * np.sin((x + y + 3 * t) / 6)) for t in range(16)])
    data = mp4_bytes(frames, 29.97)
    assert data == mp4_bytes(frames, 29.97)
    with av.open(BytesIO(data)) as container:
        assert float(container.streams.video[0].average_rate) == pytest.approx(29.97, rel=1e-3)
        found = np.stack([frame.to_ndarray(format="gray") for frame in container.decode(video=0)])
    assert found.shape == (16, 34, 42) and np.abs(found[:, :33, :41].astype(int) - frames).mean() < 3
    table = table_of(tmp_path, "echo.mp4")
    SaveResult(table, fps=16)({**table[0], "pred": torch.from_numpy(frames)[None] / 255})
    assert read_mark(tmp_path / "sub-0001" / "sub-0001_echo.mp4").synthetic


def test_a_table_is_written_in_columns(tmp_path):
    table = table_of(tmp_path, "curve.tsv", OfImages)
    columns = {"frame": [0, 1], "seconds": [0.0, None], "score": [0.25, 1 / 3], "good": [True, False]}
    save = SaveResult(table, measured_keys=["score"], sidecar_keys=["parts"])
    save({**table[0], "pred": columns, "score": 0.5, "parts": [1]})
    folder = tmp_path / "sub-0001"
    text = (folder / "sub-0001_curve.tsv").read_text()
    assert text == "frame\tseconds\tscore\tgood\n0\t0.0000\t0.2500\t1\n1\tn/a\t0.3333\t0\n"
    record = json.loads((folder / "sub-0001_curve.json").read_text())
    assert record["rows"] == 2 and record["measured"] == {"score": 0.5} and record["parts"] == [1]
    with pytest.raises(UserError, match="columns of different lengths: {'a': 1, 'b': 2}"):
        save({**table[1], "pred": {"a": [1], "b": [1, 2]}})


def test_an_unknown_ending_or_setting_is_named(tmp_path):
    with pytest.raises(UserError, match="'scan.bmp': its ending must be .avi, .mp4, .nii, .nii.gz, .png, .tsv"):
        kind_of("scan.bmp")
    with pytest.raises(UserError, match="no setting 'fps' for T1w.nii.gz: the known ones are affine, spacing_mm"):
        SaveResult(table_of(tmp_path, "T1w.nii.gz"), fps=3)


def test_a_new_kind_is_one_module(tmp_path, monkeypatch):
    class Numbers(Kind):
        endings = (".txt",)

        def __init__(self, digits=2):
            self.digits = digits

        def prepare(self, value, key, suffix, sample):
            return Content(np.asarray(value), None, {"count": len(value)})

        def write(self, path, content, mark):
            path.parent.mkdir(parents=True)
            path.write_text(" ".join(f"{value:.{self.digits}f}" for value in content.array))

    monkeypatch.setitem(kinds.known_kinds(), ".txt", Numbers)
    table = table_of(tmp_path, "numbers.txt")
    SaveResult(table, digits=1)({**table[0], "pred": [1, 2]})
    FinalizeDataset(table)()
    assert (tmp_path / "sub-0001" / "sub-0001_numbers.txt").read_text() == "1.0 2.0"
    assert json.loads((tmp_path / "sub-0001" / "sub-0001_numbers.json").read_text())["count"] == 2


@pytest.mark.parametrize("codes", [(1, 2), (1, 0), (0, 2), (2, 2)])
def test_a_map_lies_where_its_scan_lies_for_every_program(codes, tmp_path):
    """nibabel and Slicer take the sform, ITK may take the qform: a result carries both as its scan does."""
    import SimpleITK
    from monai.data import MetaTensor

    sform = np.diag([-2.0, 2.0, 3.0, 1.0])
    sform[:3, 3] = [40.0, -60.0, 10.0]
    qform = sform.copy()
    qform[:3, 3] += [0, -25, 18]
    scan = nib.Nifti1Image(np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6), sform)
    scan.set_qform(qform, codes[0])
    scan.set_sform(sform, codes[1])
    nib.save(scan, tmp_path / "scan.nii.gz")
    table = ImageTable(str(tmp_path / "scan.nii.gz"), output_dir=str(tmp_path / "out"), suffix="heatmap.nii.gz")
    heat = MetaTensor(torch.rand(1, 4, 5, 6), affine=nib.load(tmp_path / "scan.nii.gz").affine)
    SaveResult(table)({**table[0], "pred": heat})
    made = tmp_path / "out" / "scan" / "scan_heatmap.nii.gz"
    one, other = nib.load(tmp_path / "scan.nii.gz"), nib.load(made)
    assert np.allclose(one.affine, other.affine, atol=0.01)
    assert [int(other.header[key]) for key in ("qform_code", "sform_code")] == list(codes)
    one, other = SimpleITK.ReadImage(str(tmp_path / "scan.nii.gz")), SimpleITK.ReadImage(str(made))
    assert np.allclose(one.GetOrigin(), other.GetOrigin(), atol=0.01)
    assert np.allclose(one.GetDirection(), other.GetDirection(), atol=1e-4)
    assert np.allclose(one.GetSpacing(), other.GetSpacing(), atol=1e-4)


def test_a_preview_of_a_ct_shows_lungs_and_bones():
    hu = np.array([-3000.0, -1000, -850, 45, 500, 1200])
    assert np.allclose(volume._shown(hu, "ct.nii.gz"), [0, 0, 0.1, 1045 / 1500, 1, 1])
    assert volume._shown(hu, "T1w.nii.gz") is hu
