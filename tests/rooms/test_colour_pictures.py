"""Colours on their way in: photographs of any program, and slices in colour as 3D Slicer and ITK save them."""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from synthzoo.cases.finding import find_images
from synthzoo.cases.images import LoadPictured
from synthzoo.errors import UserError
from synthzoo.io.colour_volumes import is_colour_volume
from synthzoo.io.images import read_picture
from synthzoo.io.kinds import is_input
from synthzoo.io.radiographs import read_radiograph
from synthzoo.io.reading import kind_of_input, read_image
from synthzoo.io.volumes import read_volume

HEIGHT, WIDTH = 14, 9
RGB = np.dtype([(name, "u1") for name in "RGB"])
RGBA = np.dtype([(name, "u1") for name in "RGBA"])


@pytest.fixture
def colours() -> np.ndarray:
    """uint8 (14, 9, 3), every row, column and band another."""
    return np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def with_alpha(colours, alpha=255):
    return np.dstack([colours, np.full(colours.shape[:2], alpha, np.uint8)])


def read_bands(path):
    return np.rint(255 * read_picture(path, 3).levels).astype(int).transpose(1, 2, 0)


def write_nifti(path, pixels, affine=None):
    """A slice as ITK writes it, columns along x and rows along y: bytes as RGB24 or RGBA32, 16 bits in a fifth axis."""
    columns_first = np.ascontiguousarray(pixels.transpose(1, 0, 2))
    if pixels.dtype == np.uint8:
        kind = {3: RGB, 4: RGBA}[pixels.shape[-1]]
        array = columns_first.view(kind)[..., 0][:, :, None]
    else:
        array = columns_first[:, :, None, None]
    nib.save(nib.Nifti1Image(array, np.diag([-1.0, -1, 1, 1]) if affine is None else affine), path)
    return path


def nrrd(pixels, encoding="gzip", endian="little", more="", kinds="RGB-color domain domain domain"):
    """A slice as Slicer writes it in NRRD, attached."""
    rows, columns, bands = pixels.shape
    kind, order = ("unsigned char", "") if pixels.dtype == np.uint8 else ("unsigned short", f"endian: {endian}\n")
    head = f"NRRD0004\n# a comment\ntype: {kind}\ndimension: 4\nspace: left-posterior-superior\n"
    head += f"sizes: {bands} {columns} {rows} 1\nspace directions: none (0.5,0,0) (0,0.25,0) (0,0,1)\nkinds: {kinds}\n"
    head += f"{order}encoding: {encoding}\nspace origin: (0,0,0)\nmodality:=photograph\n{more}\n"
    data = pixels.astype(pixels.dtype.newbyteorder(">" if endian == "big" else "<")).tobytes()
    return head.encode() + (gzip.compress(data) if encoding == "gzip" else data)


# --- PNG and JPEG ----------------------------------------------------------------------------------------------------


def test_a_photograph_comes_with_its_three_colours_whatever_its_pixels_are_stored_as(colours, tmp_path):
    Image.fromarray(colours).save(tmp_path / "plain.png")
    Image.fromarray(with_alpha(colours)).save(tmp_path / "opaque.png")
    palette = Image.fromarray(colours).quantize(16)
    palette.save(tmp_path / "palette.png")
    assert np.array_equal(read_bands(tmp_path / "plain.png"), colours)
    assert np.array_equal(read_bands(tmp_path / "opaque.png"), colours)
    assert np.array_equal(read_bands(tmp_path / "palette.png"), np.asarray(palette.convert("RGB")))
    deep = colours[..., 0].astype(np.uint16) * 257 + 3
    Image.fromarray(deep).save(tmp_path / "deep.png")
    found = read_picture(tmp_path / "deep.png", 3).levels
    assert found.shape == (3, HEIGHT, WIDTH) and np.allclose(found, deep / 65535, atol=1e-7)


@pytest.mark.parametrize("turn", range(1, 9))
def test_every_way_to_hold_a_telephone_gives_an_upright_photograph(colours, tmp_path, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    smooth = Image.fromarray(colours).resize((48, 80), Image.Resampling.BICUBIC)
    smooth.save(tmp_path / "held.jpg", exif=exif, quality=98)
    smooth.save(tmp_path / "held.png", exif=exif)
    turned = {1: 0, 2: 0, 3: 2, 4: 2, 5: 3, 6: 3, 7: 1, 8: 1}[turn]  # quarters, by the words of the EXIF standard
    upright = np.rot90(np.asarray(smooth).astype(int), turned)
    upright = upright[:, ::-1] if turn in (2, 4, 5, 7) else upright
    assert np.array_equal(read_bands(tmp_path / "held.png"), upright)
    assert np.abs(read_bands(tmp_path / "held.jpg") - upright).mean() < 6


def test_what_cannot_be_shown_as_it_is_is_refused_in_a_sentence(colours, tmp_path):
    Image.fromarray(with_alpha(colours, 200)).save(tmp_path / "veil.png")
    Image.fromarray(colours).quantize(8).save(tmp_path / "hole.png", transparency=0)
    Image.fromarray(colours).convert("CMYK").save(tmp_path / "print.jpg")
    Image.fromarray(colours).save(tmp_path / "photo.tif")
    for name, said in (
        ("veil.png", "is transparent in places: save it without transparency."),
        ("hole.png", "is transparent in places"),
        ("print.jpg", "has colours for print"),
        ("photo.tif", "is no picture: give PNG, JPEG or DICOM"),
    ):
        with pytest.raises(UserError, match=f"{name} {said}"):
            read_picture(tmp_path / name, 3)


# --- slices in colour ------------------------------------------------------------------------------------------------


def test_a_slice_in_colour_is_read_with_rows_columns_and_colours_as_slicer_has_them(colours, tmp_path):
    deep = colours.astype(np.uint16) * 257
    files = {
        "rgb24.nii.gz": write_nifti(tmp_path / "rgb24.nii.gz", colours),
        "rgba32.nii": write_nifti(tmp_path / "rgba32.nii", with_alpha(colours)),
        "deep.nii.gz": write_nifti(tmp_path / "deep.nii.gz", deep),
    }
    for name, data in {
        "packed.nrrd": nrrd(colours),
        "plain.nrrd": nrrd(colours, "raw"),
        "alpha.nrrd": nrrd(with_alpha(colours), kinds="RGBA-color domain domain domain"),
        "deep.nrrd": nrrd(deep, kinds="vector domain domain domain"),
        "big.nrrd": nrrd(deep, "raw", "big"),
    }.items():
        files[name] = tmp_path / name
        files[name].write_bytes(data)
    for name, path in files.items():
        assert np.array_equal(read_bands(path), colours), name
        assert kind_of_input(path) == "image" and is_input(path, ("image",)), name
        assert read_image(path, 3).array.shape == (3, HEIGHT, WIDTH), name
    assert read_picture(files["rgb24.nii.gz"], 3).spacing_mm is None, "Slicer gives 1 mm to any PNG"
    assert read_picture(files["packed.nrrd"], 3).spacing_mm == (0.25, 0.5)


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("bands", [3, 4])
def test_what_itk_writes_is_read_to_the_last_pixel(colours, tmp_path, ending, kind, bands):
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK comes with the label extra")
    pixels = (colours if bands == 3 else with_alpha(colours)).astype(kind) * (1 if kind == np.uint8 else 257)
    path = tmp_path / f"photograph{ending}"
    for array, packed in ((pixels[None], True), (pixels[None], False), (pixels, True)):
        image = sitk.GetImageFromArray(array, isVector=True)
        image.SetSpacing((0.5, 0.25, 1)[: image.GetDimension()])
        sitk.WriteImage(image, str(path), useCompression=packed)
        assert np.array_equal(read_bands(path), colours)
        assert read_picture(path, 3).spacing_mm == pytest.approx((0.25, 0.5))


def test_a_slice_that_lies_along_another_axis_is_a_picture_too(colours, tmp_path):
    columns_first = np.ascontiguousarray(colours.transpose(1, 0, 2)).view(RGB)[..., 0]
    for axis in range(3):
        path = tmp_path / f"{axis}.nii.gz"
        nib.save(nib.Nifti1Image(np.expand_dims(columns_first, axis), np.eye(4)), path)
        assert np.array_equal(read_bands(path), colours)


def test_a_slice_in_colour_that_is_none_is_refused_by_what_is_wrong_with_it(colours, tmp_path):
    write_nifti(tmp_path / "veil.nii.gz", with_alpha(colours, 9))
    whole = write_nifti(tmp_path / "whole.nii", colours).read_bytes()
    (tmp_path / "cut.nii").write_bytes(whole[:-30])
    volume = np.zeros((6, 5, 4), RGB)
    nib.save(nib.Nifti1Image(volume, np.eye(4)), tmp_path / "volume.nii.gz")
    nib.save(nib.Nifti1Image(colours[..., :1], np.eye(4)), tmp_path / "grey.nii.gz")
    (tmp_path / "cut.nrrd").write_bytes(nrrd(colours)[:-40])
    (tmp_path / "packed.nrrd").write_bytes(nrrd(colours, "raw").replace(b"encoding: raw", b"encoding: gzip"))
    (tmp_path / "elsewhere.nrrd").write_bytes(nrrd(colours, "raw", more="data file: /etc/passwd\n"))
    (tmp_path / "letter.nrrd").write_text("a letter")
    (tmp_path / "big.nrrd").write_bytes(nrrd(colours).replace(b"sizes: 3 9 14 1", b"sizes: 3 9000 1 1"))
    for name, said in (
        ("veil.nii.gz", "is transparent in places"),
        ("cut.nii", "is damaged or cut short"),
        ("cut.nrrd", "is damaged or cut short"),
        ("packed.nrrd", "is damaged or cut short"),
        ("volume.nii.gz", "is no picture: give PNG, JPEG or DICOM"),
        ("grey.nii.gz", "is no picture: give PNG, JPEG or DICOM"),
        ("elsewhere.nrrd", "is an NRRD file: give PNG, JPEG or DICOM"),
        ("letter.nrrd", "is no picture"),
        ("big.nrrd", "at most 8192 a side"),
    ):
        with pytest.raises(UserError, match=f"{name} .*{said}"):
            read_picture(tmp_path / name, 3)
    assert kind_of_input(tmp_path / "grey.nii.gz") == "video" and kind_of_input(tmp_path / "volume.nii.gz") == "volume"


# --- in the library --------------------------------------------------------------------------------------------------


def test_a_folder_of_photographs_holds_pngs_jpegs_and_slices_in_colour_and_no_volumes(colours, tmp_path):
    Image.fromarray(colours).save(tmp_path / "a.png")
    Image.fromarray(colours).save(tmp_path / "b.jpg")
    write_nifti(tmp_path / "c.nii.gz", colours)
    (tmp_path / "d.nrrd").write_bytes(nrrd(colours))
    nib.save(nib.Nifti1Image(np.zeros((6, 5, 4), np.int16), np.eye(4)), tmp_path / "volume.nii.gz")
    (tmp_path / "volume.nrrd").write_bytes(nrrd(colours).replace(b"sizes: 3 9 14 1", b"sizes: 3 9 7 2"))
    found = find_images(tmp_path, kinds=("image",))
    assert [path.name for path in found] == ["a.png", "b.jpg", "c.nii.gz", "d.nrrd"]
    load = LoadPictured("image", channels=3)
    for path in found:
        image = load({"image": str(path)})["image"]
        assert image.shape == (3, HEIGHT, WIDTH) and len(np.unique(image.numpy().reshape(3, -1), axis=0)) == 3


def test_grey_is_made_of_colours_by_the_rule_of_who_asks(colours, tmp_path):
    path = write_nifti(tmp_path / "photograph.nii.gz", colours)
    with pytest.raises(UserError, match="is in colour, but a grey picture is needed"):
        read_picture(path)
    assert np.abs(read_picture(path, colour="average").levels[0] - colours.mean(-1) / 255).max() < 0.003
    with pytest.raises(UserError, match="is in colour, but a radiograph, which is grey, is needed"):
        read_radiograph(path)
    with pytest.raises(UserError, match="has 3 colour channels, but the network takes 1: make it grey"):
        read_volume(path)
    grey = np.repeat(colours[..., :1], 3, -1)
    assert read_picture(write_nifti(tmp_path / "grey.nii.gz", grey)).levels.shape == (1, HEIGHT, WIDTH)
    assert is_colour_volume(tmp_path / "grey.nii.gz")
