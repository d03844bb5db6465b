"""Radiographs as inputs: how they are shown, which pictures can be none, and the way to a network's grid and back."""

import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
import skimage
import torch
from dicom_files import dicom
from monai.data import MetaTensor
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless
from scipy.ndimage import center_of_mass, gaussian_filter, zoom

from synthzoo.cases.images import ImageTable, LoadRadiographd, expect_modality, find_images
from synthzoo.errors import UserError
from synthzoo.io.frontal import likeness, pattern
from synthzoo.io.images import read_picture
from synthzoo.io.jpeg_lossless import decode_lossless
from synthzoo.io.kinds import dicom_kind
from synthzoo.io.radiographs import read_radiograph
from synthzoo.phantoms.chest.phantom import chest_study
from synthzoo.transforms.radiograph_grid import FromRadiographGridd, ToRadiographGridd, place

SIZE = (120, 100)
CHEST = zoom(pattern(), (SIZE[0] / 32, SIZE[1] / 32), order=1)
CHEST = CHEST + 0.02 * gaussian_filter(np.random.default_rng(0).random(SIZE), 1, mode="wrap")
DEEP = np.round(np.interp(CHEST, [CHEST.min(), CHEST.max()], [1, 4095])).astype(np.uint16)
GREY = (DEEP >> 4).astype(np.uint8)


def refused(path, sentence):
    with pytest.raises(UserError) as caught:
        read_radiograph(path)
    assert sentence in str(caught.value) and path.name in str(caught.value) and "\n" not in str(caught.value)


def saved(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("modality", ["DX", "CR", "DR", "RG", "OT"])
def test_radiographs_of_every_modality_are_taken_with_view_and_spacing(tmp_path, modality):
    path = dicom(tmp_path / "a.dcm", DEEP, modality, ViewPosition="AP", PixelSpacing=[0.14, 0.14])
    expect_modality(path, "DX")
    found = read_radiograph(path)
    assert found.view == "AP" and found.spacing_mm == (0.14, 0.14) and np.allclose(found.levels[0], DEEP / 4095)


@pytest.mark.parametrize("bits", [10, 12, 14, 15, 16])
def test_all_depths_span_black_to_white(tmp_path, bits):
    deep = (DEEP.astype(np.float64) / 4095 * (2**bits - 1)).astype(np.uint16)
    levels = read_radiograph(dicom(tmp_path / "a.dcm", deep, bits=bits)).levels[0]
    assert np.allclose(levels, deep / (2**bits - 1), atol=1e-6)


@pytest.mark.parametrize(
    "syntax, pixels, bits", [(JPEG2000Lossless, DEEP, 12), (RLELossless, DEEP, 12), (JPEGBaseline8Bit, GREY, 8)]
)
def test_compressed_radiographs_are_decoded(tmp_path, syntax, pixels, bits):
    levels = read_radiograph(dicom(tmp_path / "a.dcm", pixels, bits=bits, syntax=syntax)).levels[0]
    assert np.abs(levels - pixels / (2**bits - 1)).max() < (0.02 if syntax == JPEGBaseline8Bit else 1e-6)


@pytest.mark.parametrize(
    "uid, name",
    [
        ("1.2.840.10008.1.2.4.51", "JPEG Extended"),
        ("1.2.840.10008.1.2.4.80", "JPEG-LS Lossless"),
        ("1.2.840.10008.1.2.4.81", "JPEG-LS Lossy"),
    ],
)
def test_compression_that_cannot_be_decoded_is_named(tmp_path, uid, name):
    path = dicom(tmp_path / "a.dcm", DEEP[:, :, None].repeat(1, 2)[..., 0], syntax=JPEG2000Lossless)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = uid
    dataset.save_as(path)
    refused(path, f"is compressed as {name}")


def lossless(picture, predictor=1, bits=16, restart=0):
    """JPEG Lossless of grey levels (H, W) with a code of 5 bits for each category, by the standard."""
    values = picture.astype(np.int64)
    above, left, corner = np.zeros((3, *values.shape), np.int64)
    above[1:], left[:, 1:], corner[1:, 1:] = values[:-1], values[:, :-1], values[:-1, :-1]
    predicted = {1: left, 2: above, 4: left + above - corner}[predictor].copy()
    first = np.arange(0, len(values), restart or len(values))
    predicted[:, 0] = above[:, 0]
    predicted[first] = left[first]
    predicted[first, 0] = 1 << (bits - 1)
    streams, line = [], ""
    for row, differences in enumerate(values - predicted):
        for d in (differences + 32768) % 65536 - 32768:
            size = int(abs(d)).bit_length()
            line += f"{size:05b}" + (f"{d if d > 0 else d + (1 << size) - 1:0{size}b}" if 0 < size < 16 else "")
        if row + 1 in first or row + 1 == len(values):
            line += "1" * (-len(line) % 8)
            streams.append(int(line, 2).to_bytes(len(line) // 8, "big").replace(b"\xff", b"\xff\x00"))
            line = ""
    joined = b"".join(part + bytes([0xFF, 0xD0 + n % 8]) for n, part in enumerate(streams[:-1])) + streams[-1]
    counts = bytes([0, 0, 0, 0, 17, *[0] * 11])

    def segment(marker, content):
        return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content

    height, width = values.shape
    return (
        b"\xff\xd8"
        + segment(0xC3, struct.pack(">BHHB", bits, height, width, 1) + bytes([1, 0x11, 0]))
        + segment(0xC4, bytes([0]) + counts + bytes(range(17)))
        + (segment(0xDD, struct.pack(">H", restart * width)) if restart else b"")
        + segment(0xDA, bytes([1, 1, 0, predictor, 0, 0]))
        + joined
        + b"\xff\xd9"
    )


def lossless_dicom(path, data, syntax="1.2.840.10008.1.2.4.70", **tags):
    dataset = pydicom.dcmread(dicom(path, DEEP, **tags))
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([data])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)
    return path


@pytest.mark.parametrize("predictor, restart", [(1, 0), (1, 7), (2, 0), (4, 0), (4, 40)])
def test_jpeg_lossless_is_decoded(tmp_path, predictor, restart):
    """The compression of most hospitals' radiographs, all levels exact, with and without restart intervals."""
    path = lossless_dicom(tmp_path / "a.dcm", lossless(DEEP, predictor, restart=restart))
    assert np.allclose(read_radiograph(path).levels[0], DEEP / 4095)
    wild = np.random.default_rng(0).integers(0, 65536, SIZE, dtype=np.uint16)
    assert np.array_equal(decode_lossless(lossless(wild, predictor, restart=restart), "x"), wild)


def test_what_is_wrong_with_jpeg_lossless_is_one_sentence(tmp_path):
    whole = lossless(DEEP)
    huge = whole.replace(struct.pack(">HH", *SIZE), b"\xff\xff\xff\xff", 1)
    rng = np.random.default_rng(0)
    for data in (whole[: len(whole) // 2], whole[:30], b"\xff\xd8", whole.replace(b"\xff\xc4", b"\xff\xe0", 1), huge):
        refused(lossless_dicom(tmp_path / "a.dcm", data), "is a damaged JPEG Lossless of")
    other = bytearray(whole)
    other[other.index(b"\xff\xda") + 7] = 6
    refused(lossless_dicom(tmp_path / "a.dcm", bytes(other)), "with predictor 6, but (1, 2, 4) are decoded here")
    refused(lossless_dicom(tmp_path / "a.dcm", lossless(DEEP[:-1])), "does not hold 1 frames of 120 x 100 pixels")
    for _ in range(200):  # whatever is in it, a sentence or a picture
        hostile = bytearray(whole)
        for at in rng.integers(2, 80, 4):
            hostile[at] = rng.integers(256)
        try:
            decode_lossless(bytes(hostile), "x")
        except UserError as error:
            assert "\n" not in str(error)


def test_padding_is_black_whatever_the_photometric_interpretation(tmp_path):
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        deep = DEEP if photometric == "MONOCHROME2" else 4095 - DEEP
        deep = np.clip(deep, 0, 3999)
        deep[:10], deep[-5:] = 4095, 4000
        tags = {"PixelPaddingValue": 4000, "PixelPaddingRangeLimit": 4095, "WindowCenter": 2000, "WindowWidth": 4000}
        levels = read_radiograph(dicom(tmp_path / "a.dcm", deep, photometric=photometric, **tags)).levels[0]
        assert not levels[:10].any() and not levels[-5:].any() and levels[20:100].mean() > 0.2
    signed = 2047 - DEEP.astype(np.int16)
    signed[:10] = -2000
    path = dicom(tmp_path / "b.dcm", signed.view(np.uint16), bits=16, photometric="MONOCHROME1")
    dataset = pydicom.dcmread(path)
    dataset.PixelRepresentation = 1
    dataset.add_new("PixelPaddingValue", "SS", -2000)
    dataset.save_as(path)
    assert not read_radiograph(path).levels[0, :10].any()


def test_grey_stored_in_colour_is_grey_and_real_colour_is_refused(tmp_path):
    three = np.repeat(GREY[..., None], 3, -1)
    assert np.array_equal(read_radiograph(saved(tmp_path / "a.png", three)).levels[0], GREY / np.float32(255))
    assert read_radiograph(dicom(tmp_path / "a.dcm", three, photometric="RGB", bits=8)).levels.shape == (1, 120, 100)
    cat = np.stack([GREY, GREY // 2, 255 - GREY], -1)
    sentence = "is in colour, but a radiograph, which is grey, is needed: give the radiograph itself, not a photograph"
    refused(saved(tmp_path / "cat.jpg", cat), sentence)
    refused(dicom(tmp_path / "cat.dcm", cat, photometric="RGB", bits=8), sentence)


def test_pictures_that_can_be_no_radiograph_are_refused(tmp_path):
    refused(
        saved(tmp_path / "mask.png", ((GREY > 128) * 255).astype(np.uint8)), "has 2 grey levels, as drawings, masks"
    )
    refused(saved(tmp_path / "icon.png", GREY[:40, :40]), "is 40 x 40 pixels, but a chest radiograph has at least 64")
    refused(saved(tmp_path / "strip.png", np.tile(GREY, (1, 4))), "is 400 x 120 pixels")
    refused(saved(tmp_path / "even.png", GREY * 0 + 7), "shows one shade throughout")
    refused(tmp_path / "none.png", "does not exist")
    (tmp_path / "text.png").write_text("no picture")
    refused(tmp_path / "text.png", "is no picture: give PNG, JPEG or DICOM")


@pytest.mark.parametrize("seed, findings, view", [(1, [], "PA"), (2, ["effusion"], "AP"), (3, ["pneumothorax"], "PA")])
def test_phantoms_look_like_a_chest_and_dark_bones_are_turned(tmp_path, seed, findings, view, capsys):
    image = chest_study(seed, findings=findings, size=64, view=view).image
    deep = np.round(image * 65535).astype(np.uint16)
    plain = LoadRadiographd("image")({"image": str(saved(tmp_path / "a.png", deep))})
    assert plain["radiograph"]["likeness"] > 0.6 and not plain["radiograph"]["turned"]
    assert capsys.readouterr().err == ""
    turned = LoadRadiographd("image")({"image": str(saved(tmp_path / "b.png", 65535 - deep))})
    assert turned["radiograph"]["turned"] and np.allclose(turned["image"], plain["image"], atol=1e-4)
    assert "b.png shows bones dark; it was turned to bones bright" in capsys.readouterr().err
    path = dicom(tmp_path / "wrong.dcm", deep, photometric="MONOCHROME1", bits=16)  # the header is wrong
    assert read_radiograph(path).turned and np.allclose(read_radiograph(path).levels, plain["image"], atol=1e-4)
    refused(saved(tmp_path / "lying.png", np.rot90(deep)), "does not look like a frontal chest radiograph")
    assert read_radiograph(tmp_path / "lying.png", check=False).levels.shape == (1, 64, 64)


@pytest.mark.parametrize("name", ["astronaut", "brick", "camera", "cell", "chelsea", "coffee", "coins", "moon", "page"])
def test_photographs_are_no_radiographs_in_grey_either(tmp_path, name):
    photograph = read_picture(Path(skimage.__file__).parent / "data" / f"{name}.png", colour="average").levels[0]
    assert likeness(photograph) < 0.3
    if photograph.shape[1] < 2.5 * photograph.shape[0]:
        refused(saved(tmp_path / "a.png", np.round(photograph * 255).astype(np.uint8)), "does not look like a frontal")


def coded(meaning):
    code = Dataset()
    code.CodeMeaning = meaning
    return [code]


@pytest.mark.parametrize(
    "tags, sentence",
    [
        ({"ViewPosition": "LL"}, "is a lateral or oblique view (LL): give a frontal one, PA or AP"),
        ({"ViewPosition": "LATERAL"}, "is a lateral or oblique view (LATERAL)"),
        ({"ViewPosition": "XTABLE LATERAL"}, "is a lateral or oblique view (XTABLE LATERAL)"),
        ({"ViewCodeSequence": coded("left lateral")}, "is a lateral or oblique view (LEFT LATERAL)"),
        ({"PatientOrientation": ["A", "F"]}, "is a lateral or oblique view (rows towards A)"),
        ({"BodyPartExamined": "HAND"}, "shows another part of the body (HAND), but a chest is needed"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "holds raw detector data (FOR PROCESSING): export"),
    ],
)
def test_other_views_and_parts_are_refused_by_their_header(tmp_path, tags, sentence):
    path = dicom(tmp_path / "a.dcm", DEEP, **tags)
    refused(path, sentence)
    with pytest.raises(UserError) as caught:  # before anything runs, among many images too
        expect_modality(path, "DX")
    assert sentence in str(caught.value)
    expect_modality(dicom(tmp_path / "mr.dcm", DEEP, "MR", **tags), "MR")


@pytest.mark.parametrize(
    "tags", [{"ViewPosition": "PA"}, {"ViewCodeSequence": coded("postero-anterior")}, {"ViewPosition": "AP LLD"}]
)
def test_frontal_views_are_taken(tmp_path, tags):
    assert read_radiograph(dicom(tmp_path / "a.dcm", DEEP, BodyPartExamined="CHEST", **tags)).levels.shape == (
        1,
        120,
        100,
    )


def test_a_mammogram_and_a_scan_are_no_radiographs_of_the_chest(tmp_path):
    for modality in ("MG", "CT"):
        with pytest.raises(UserError, match=f"of modality {modality}, but this model takes radiographs .DX."):
            expect_modality(dicom(tmp_path / "a.dcm", DEEP, modality), "DX")


def test_files_without_a_modality_are_known_by_their_class(tmp_path):
    path = dicom(tmp_path / "a.dicom", DEEP)
    dataset = pydicom.dcmread(path)
    del dataset.Modality, dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    dataset.save_as(path)
    assert dicom_kind(path) == "image" and find_images(tmp_path, kinds=("image",)) == [path]
    expect_modality(path, "DX")
    assert read_radiograph(path).levels.shape == (1, 120, 100)


def test_a_bad_one_among_many_is_named_and_left_out(tmp_path, capsys):
    dicom(tmp_path / "side.dcm", DEEP, ViewPosition="LL")
    saved(tmp_path / "cat.png", np.stack([GREY, GREY // 2, 255 - GREY], -1))
    saved(tmp_path / "good.png", DEEP * 16)
    table = ImageTable(str(tmp_path), kinds=("image",), loader=LoadRadiographd("image"), suffix="heatmap.png")
    assert [table.cases[row] for row in table.rows] == ["good"] and len(table.failures) == 2
    assert "cat.png is in colour" in capsys.readouterr().err


# --- the grid --------------------------------------------------------------------------------------------------------


def blob(height, width, x, y, sigma):
    """A smooth spot whose centre is at (x, y), where (0, 0) is the left upper corner."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    return np.exp(-0.5 * ((columns - x) ** 2 + (rows - y) ** 2) / sigma**2).astype(np.float32)


def centre(image):
    down, across = center_of_mass(np.asarray(image))
    return np.array([across, down]) + 0.5


SIZES = [(1250, 1024), (800, 1000), (501, 498), (500, 1000), (100, 97), (64, 80)]


@pytest.mark.parametrize("fit", ["pad", "crop"])
@pytest.mark.parametrize("height, width", SIZES)
def test_points_boxes_and_pixels_agree_to_a_fraction_of_a_pixel(height, width, fit):
    placed = place(height, width, 128, fit)
    at = np.array([0.5 * width + 0.11 * min(height, width), 0.5 * height - 0.17 * min(height, width)])
    image = torch.from_numpy(blob(height, width, *at, 0.04 * max(height, width)))[None]
    grid = placed.to_grid(image)
    assert grid.shape == (1, 128, 128)
    assert np.abs(centre(grid[0]) - placed.points_to_grid(at)).max() < 0.02  # pixels of the grid
    back = placed.from_grid(grid)
    assert back.shape == image.shape
    assert np.abs(centre(back[0]) - at).max() < 0.02 * max(1.0, 1 / placed.scale)
    assert float((back - image).abs().max()) < 0.06
    points = np.random.default_rng(0).random((50, 2)) * [width, height]
    assert np.abs(placed.points_from_grid(placed.points_to_grid(points)) - points).max() < 1e-9
    middle = np.array([[0.4 * width, 0.45 * height, 0.55 * width, 0.6 * height]])
    if fit == "pad" or placed.boxes_to_grid(middle).ptp() > 0:
        inside = placed.boxes_from_grid(placed.boxes_to_grid(middle))
        assert np.abs(inside - middle).max() < 1e-9 or fit == "crop"


def test_a_box_and_the_pixels_in_it_go_the_same_way():
    placed = place(2500, 2048, 256)
    box = np.array([[600.0, 800.0, 1200.0, 1100.0]])
    image = torch.zeros(1, 2500, 2048)
    image[:, 800:1100, 600:1200] = 1
    grid = placed.to_grid(image)[0].numpy()
    x0, y0, x1, y1 = placed.boxes_to_grid(box)[0]
    assert abs(grid.sum(1).max() - (x1 - x0)) < 0.01 and abs(grid.sum(0).max() - (y1 - y0)) < 0.01
    assert np.abs(centre(grid) - [(x0 + x1) / 2, (y0 + y1) / 2]).max() < 0.01


def test_the_affine_says_where_the_pixels_of_the_grid_lie():
    image = MetaTensor(torch.rand(1, 500, 400), affine=torch.diag(torch.tensor([0.2, 0.2, 1.0, 1.0])).double())
    sample = ToRadiographGridd("image", 100)({"image": image})
    corner = sample["image"].affine.numpy() @ [0, 0, 0, 1]
    # The first pixel of the grid covers 5 x 5 of the image: rows 0 to 5, columns -50 to -45.
    assert np.allclose(corner[:2], [0.2 * 2, 0.2 * (-50 + 2)])
    back = FromRadiographGridd("pred")({**sample, "pred": sample["image"][:1]})["pred"]
    assert back.shape == (1, 500, 400) and np.allclose(back.affine, image.affine)


@pytest.mark.parametrize("fit", ["pad", "crop"])
def test_a_map_stays_within_its_values_and_is_zero_where_nothing_was_seen(fit):
    sample = ToRadiographGridd("image", 64, fit)({"image": torch.rand(1, 300, 200)})
    back = FromRadiographGridd("pred", fit)({**sample, "pred": torch.rand(2, 64, 64).clamp(0.1, 0.9)})["pred"]
    assert back.shape == (2, 300, 200) and float(back.min()) >= 0 and float(back.max()) <= 0.9 + 1e-6
    assert bool((back[:, 50:250] >= 0.1 - 1e-6).all())
    assert bool((back[:, :50] == 0).all()) == (fit == "crop")


def test_levels_do_not_depend_on_the_window_nor_on_black_borders():
    shown = torch.from_numpy(gaussian_filter(np.random.default_rng(1).random((1, 400, 400)), (0, 8, 8)))
    shown = ((shown - shown.min()) / (shown.max() - shown.min()) * 0.9 + 0.05).float()
    plain = ToRadiographGridd("image", 100)({"image": shown})["image"]
    darker = ToRadiographGridd("image", 100)({"image": 0.3 * shown + 0.2})["image"]
    assert float((plain - darker).abs().max()) < 1e-4 and float(plain.min()) == 0 and float(plain.max()) == 1
    framed = torch.nn.functional.pad(shown, (100, 100, 100, 100))
    seen = ToRadiographGridd("image", 150)({"image": framed})["image"]
    assert float((seen[:, 28:122, 28:122] - plain[:, 3:97, 3:97]).abs().max()) < 0.03
    even = ToRadiographGridd("image", 100, intensity="equalise")({"image": shown})["image"]
    shares = np.histogram(even.numpy(), 10, (0, 1))[0] / even.numel()
    assert shares.min() > 0.06 and shares.max() < 0.14
    left = ToRadiographGridd("image", 100, intensity="none")({"image": shown})["image"]
    assert abs(float(left.mean()) - float(shown.mean())) < 1e-3


def test_settings_that_mean_nothing_are_refused():
    with pytest.raises(UserError, match="fit = 'squeeze', size = 64: fit must be pad or crop"):
        ToRadiographGridd("image", 64, "squeeze")
    with pytest.raises(UserError, match="intensity = 'bright': must be percentiles, equalise, none"):
        ToRadiographGridd("image", 64, intensity="bright")({"image": torch.rand(1, 80, 80)})


def test_explicit_little_endian_is_what_the_helper_writes(tmp_path):
    assert pydicom.dcmread(dicom(tmp_path / "a.dcm", DEEP)).file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
