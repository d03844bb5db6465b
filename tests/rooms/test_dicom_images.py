"""2D images and DICOM: levels as they are to be shown, sizes of pixels, rates, and a sentence for every fault."""

import numpy as np
import pydicom
import pytest
import torch
from dicom_files import dicom, jpeg
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless
from scipy.ndimage import gaussian_filter

from synthzoo.cases.images import ImageTable, LoadPictured, find_images
from synthzoo.errors import UserError
from synthzoo.io.images import read_picture
from synthzoo.io.kinds import dicom_kind, format_of
from synthzoo.io.reading import read_image
from synthzoo.io.videos import open_video, read_video

RNG = np.random.default_rng(0)
DEEP = np.round(gaussian_filter(RNG.random((40, 56)), 3, mode="wrap") * 4095).astype(np.uint16)
GREY = np.round(np.interp(DEEP, [DEEP.min(), DEEP.max()], [0, 255])).astype(np.uint8)
MOVING = np.stack([np.roll(GREY, n, 1) for n in range(6)])


def test_stored_bits_span_black_to_white_and_monochrome1_is_turned(tmp_path):
    two = read_picture(dicom(tmp_path / "two.dcm", DEEP, PixelSpacing=[0.2, 0.3]))
    assert two.levels.shape == (1, 40, 56) and two.levels.dtype == np.float32 and two.spacing_mm == (0.2, 0.3)
    assert np.allclose(two.levels[0], DEEP / 4095)
    assert len(np.unique(two.levels)) == len(np.unique(DEEP)) > 256  # no level is lost
    one = read_picture(dicom(tmp_path / "one", DEEP, photometric="MONOCHROME1", ImagerPixelSpacing=[0.1, 0.1]))
    assert np.allclose(one.levels, 1 - two.levels, atol=1e-6) and one.spacing_mm == (0.1, 0.1)


def test_windows_and_rescaling_follow_the_standard(tmp_path):
    tags = {"RescaleSlope": 2, "RescaleIntercept": -100, "WindowCenter": [3000, 1], "WindowWidth": [801, 1]}
    levels = read_picture(dicom(tmp_path / "a.dcm", DEEP, **tags)).levels[0]
    values = 2.0 * DEEP - 100
    assert np.allclose(levels, np.clip((values - 2999.5) / 800 + 0.5, 0, 1), atol=1e-6)
    exact = read_picture(dicom(tmp_path / "b.dcm", DEEP, VOILUTFunction="LINEAR_EXACT", **tags)).levels[0]
    assert np.allclose(exact, np.clip((values - 3000) / 801 + 0.5, 0, 1), atol=1e-6)
    sigmoid = read_picture(dicom(tmp_path / "c.dcm", DEEP, VOILUTFunction="SIGMOID", **tags)).levels[0]
    assert np.allclose(sigmoid, 1 / (1 + np.exp(-4 * (values - 3000) / 801)), atol=1e-6)


def test_a_table_of_levels_takes_precedence_over_the_window(tmp_path):
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [4096, 0, 10], list(range(1023, -1, -1)) * 4
    table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
    path = dicom(tmp_path / "a.dcm", DEEP, VOILUTSequence=[table], WindowCenter=1, WindowWidth=2)
    assert np.allclose(read_picture(path).levels[0], (1023 - DEEP % 1024) / 1023)


@pytest.mark.parametrize("syntax, most", [(JPEGBaseline8Bit, 3), (RLELossless, 0)])
def test_compressed_pixels_are_decoded(tmp_path, syntax, most):
    picture = read_picture(dicom(tmp_path / "a.dcm", GREY, "CR", bits=8, syntax=syntax))
    assert np.abs(picture.levels[0] * 255 - GREY).max() <= most + 1e-4


def test_what_cannot_be_decoded_is_named(tmp_path):
    path = dicom(tmp_path / "a.dcm", GREY, bits=8, syntax=JPEGBaseline8Bit)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.80"
    dataset.save_as(path)
    with pytest.raises(UserError, match="compressed as JPEG-LS Lossless.*cannot be decoded here.*gdcmconv --raw"):
        read_picture(path)


def test_faults_of_dicom_are_one_sentence(tmp_path):
    whole = dicom(tmp_path / "a.dcm", DEEP).read_bytes()
    (tmp_path / "cut.dcm").write_bytes(whole[:-900])
    (tmp_path / "head.dcm").write_bytes(whole[:140])
    empty = pydicom.dcmread(tmp_path / "a.dcm")
    del empty.PixelData
    empty.save_as(tmp_path / "empty.dcm")
    huge = pydicom.dcmread(tmp_path / "a.dcm")
    huge.Rows = 60000
    huge.save_as(tmp_path / "huge.dcm")
    dicom(tmp_path / "many.dcm", MOVING, "US", bits=8)
    dicom(tmp_path / "flow.dcm", np.stack([GREY, GREY // 2, GREY // 3], -1), "US", "RGB", 8)
    cases = {
        "cut": "is damaged",
        "head": "is",
        "empty": "is DICOM without pixels",
        "huge": "claims 60000 x 56 pixels",
        "many": "has 6 frames, but one is needed",
        "flow": "is in colour, but a grey picture is needed",
    }
    for name, sentence in cases.items():
        with pytest.raises(UserError) as caught:
            read_picture(tmp_path / f"{name}.dcm")
        assert sentence in str(caught.value) and f"{name}.dcm" in str(caught.value) and "\n" not in str(caught.value)


def test_png_and_jpeg_keep_their_levels_and_say_what_is_wrong(tmp_path):
    Image.fromarray(DEEP * 16).save(tmp_path / "deep.png")
    assert np.allclose(read_picture(tmp_path / "deep.png").levels[0], DEEP * 16 / 65535, atol=1e-7)
    Image.fromarray(GREY).save(tmp_path / "grey.png")
    assert np.array_equal(read_picture(tmp_path / "grey.png").levels[0], GREY.astype(np.float32) / np.float32(255))
    (tmp_path / "photo.jpg").write_bytes(jpeg(GREY))
    assert np.abs(read_picture(tmp_path / "photo.jpg").levels[0] * 255 - GREY).max() < 4
    colour = np.stack([GREY, GREY // 2, 255 - GREY], -1)
    Image.fromarray(colour).save(tmp_path / "colour.png")
    with pytest.raises(UserError, match="colour.png is in colour, but a grey picture is needed"):
        read_picture(tmp_path / "colour.png")
    assert np.array_equal(
        read_picture(tmp_path / "colour.png", 3).levels, colour.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    )
    assert np.allclose(
        read_picture(tmp_path / "colour.png", colour="average").levels, colour.mean(-1) / 255, atol=0.003
    )
    assert read_picture(tmp_path / "grey.png", 3).levels.shape == (3, 40, 56)
    Image.fromarray(GREY).convert("RGB").rotate(90, expand=True).save(
        tmp_path / "held.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    )
    assert read_picture(tmp_path / "held.jpg").levels.shape == (1, 40, 56)
    for name, data, sentence in (
        ("cut.png", (tmp_path / "grey.png").read_bytes()[:300], "is a damaged PNG"),
        ("cut.jpg", jpeg(GREY)[:300], "is a damaged JPEG"),
        ("empty.png", b"", "is an empty file"),
        ("text.png", b"no picture", "is no picture: give PNG, JPEG or DICOM"),
        ("video.gif", b"GIF89a" + bytes(30), "is a GIF: give PNG"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match=sentence):
            read_picture(tmp_path / name)
    with pytest.raises(UserError, match="does not exist"):
        read_picture(tmp_path / "none.png")


def test_pictures_become_tensors_with_the_size_of_their_pixels(tmp_path):
    path = dicom(tmp_path / "a.dcm", DEEP, PixelSpacing=[0.2, 0.3])
    image = LoadPictured("image")({"image": str(path)})["image"]
    assert image.shape == (1, 40, 56) and image.dtype == torch.float32
    assert np.allclose(image.affine, np.diag([0.2, 0.3, 1, 1])) and tuple(image.meta["pixel_mm"]) == (0.2, 0.3)
    Image.fromarray(GREY).save(tmp_path / "b.png")
    assert np.isnan(LoadPictured("image")({"image": str(tmp_path / "b.png")})["image"].meta["pixel_mm"]).all()
    Image.fromarray(GREY * 0 + 7).save(tmp_path / "even.png")
    with pytest.raises(UserError, match="shows one shade"):
        LoadPictured("image")({"image": str(tmp_path / "even.png")})


@pytest.mark.parametrize("syntax, most", [(ExplicitVRLittleEndian, 0), (RLELossless, 0), (JPEGBaseline8Bit, 3)])
def test_ultrasound_of_many_frames_is_a_video(tmp_path, syntax, most):
    path = dicom(tmp_path / "IM_0001", MOVING, "US", bits=8, syntax=syntax, FrameTime="40")
    video = read_image(path)
    assert video.kind == "video" and video.fps == 25 and video.array.shape == (1, 6, 40, 56)
    assert np.abs(video.array[0] * 255 - MOVING).max() <= most + 1e-4
    assert np.array_equal(read_video(path, [4, 1]).frames, read_video(path).frames[[4, 1]])


@pytest.mark.parametrize(
    "tags, fps",
    [({"CineRate": 30}, 30), ({"FrameTimeVector": [0, 20, 20, 20, 20, 20]}, 50), ({}, None)],
)
def test_the_rate_of_ultrasound(tmp_path, tags, fps):
    assert open_video(dicom(tmp_path / "a.dcm", MOVING, "US", bits=8, **tags)).fps == fps


def test_grey_ultrasound_stored_in_colour_is_grey_and_doppler_is_refused(tmp_path):
    three = np.stack([MOVING] * 3, -1)
    path = dicom(tmp_path / "a.dcm", three, "US", "RGB", 8, FrameTime="20")
    assert np.array_equal(read_video(path).frames, MOVING)
    three[:, :, :20, 2] = 0
    path = dicom(tmp_path / "b.dcm", three, "US", "RGB", 8, FrameTime="20")
    with pytest.raises(UserError, match="b.dcm: frame 0 is in colour, but a grey video is needed"):
        read_video(path)
    assert read_video(path, colour="average").frames.shape == MOVING.shape
    path = dicom(tmp_path / "c.dcm", three * 0 + MOVING[..., None], "US", "YBR_FULL_422", 8, JPEGBaseline8Bit)
    assert np.abs(read_video(path).frames.astype(int) - MOVING).max() <= 4


def test_dicom_is_found_by_its_content_and_kind(tmp_path):
    (tmp_path / "study").mkdir()
    dicom(tmp_path / "study" / "1.2.840.99", DEEP)
    dicom(tmp_path / "study" / "IM1.IMA", MOVING, "US", bits=8)
    Image.fromarray(GREY).save(tmp_path / "study" / "a.png")
    (tmp_path / "study" / "notes.txt").write_text("x")
    (tmp_path / "study" / "series").mkdir()
    for n in range(3):
        dicom(tmp_path / "study" / "series" / f"MR.{n}.99", DEEP, "MR")
    names = {
        kind: [path.name for path in find_images(tmp_path / "study", kinds=(kind,))] for kind in ("image", "video")
    }
    assert names == {"image": ["1.2.840.99", "a.png"], "video": ["IM1.IMA"]}
    assert find_images(tmp_path / "study" / "series") == [tmp_path / "study" / "series"]
    assert [path.name for path in find_images(tmp_path / "study")] == ["series"]
    assert dicom_kind(tmp_path / "study" / "series" / "MR.0.99") == "volume"
    with pytest.raises(UserError, match="holds DICOM files, but not of a video"):
        find_images(tmp_path / "study" / "series", kinds=("video",))
    table = ImageTable(str(tmp_path / "study"), kinds=("image",), loader=LoadPictured("image"), suffix="cxr.png")
    assert [table[row]["case"] for row in range(2)] == ["1.2.840.99", "a"]


def test_content_decides_and_not_the_name(tmp_path):
    path = dicom(tmp_path / "radiograph.png", DEEP)
    assert format_of(path) == "dicom" and read_image(path).kind == "image"
    Image.fromarray(GREY).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.avi")
    assert read_image(tmp_path / "a.avi").kind == "image"
    (tmp_path / "b.xyz").write_text("x")
    with pytest.raises(UserError, match="b.xyz is neither a volume nor a picture nor a video"):
        read_image(tmp_path / "b.xyz")
