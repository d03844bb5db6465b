"""Ways in which an image file can be wrong, and the words in which a user is told; each `bad_*` writes one file."""

import gzip
import struct

import nibabel as nib
import numpy as np

AFFINE = np.array([[-2.0, 0, 0, 10], [0, 0, 3.0, -5], [0, 1.5, 0, 7], [0, 0, 0, 1]])


def save(path, array, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def corrupt_header(path, array, dims):
    """A NIfTI file whose header claims other dimensions than its data have."""
    raw = bytearray(nib.Nifti1Image(array, AFFINE).to_bytes())
    raw[40:56] = struct.pack("<8h", len(dims), *dims, *([1] * (7 - len(dims))))
    path.write_bytes(gzip.compress(bytes(raw)) if path.name.endswith(".gz") else bytes(raw))
    return path


def bad_2d(folder, volume):
    return save(folder / "slice.nii.gz", volume[:, :, 0])


def bad_one_slice(folder, volume):
    return save(folder / "slice.nii.gz", volume[:, :, :1])


def bad_4d(folder, volume):
    return save(folder / "series.nii.gz", np.stack([volume, volume], -1))


def bad_vector(folder, volume):
    return save(folder / "vector.nii.gz", np.stack([volume] * 3, -1)[:, :, :, None, :])


def bad_colour(folder, volume):
    rgb = np.zeros(volume.shape, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    return save(folder / "colour.nii.gz", rgb)


def bad_nan(folder, volume):
    volume[2, 3, 4] = np.nan
    return save(folder / "nan.nii.gz", volume)


def bad_inf(folder, volume):
    volume[2, 3, 4:6] = np.inf
    return save(folder / "inf.nii.gz", volume)


def bad_constant(folder, volume):
    return save(folder / "constant.nii.gz", np.full_like(volume, 3))


def bad_truncated(folder, volume):
    path = save(folder / "cut.nii.gz", np.random.default_rng(0).random((20, 20, 20)))
    path.write_bytes(path.read_bytes()[:9000])
    return path


def bad_truncated_header(folder, volume):
    path = save(folder / "cut.nii.gz", volume)
    path.write_bytes(path.read_bytes()[:60])
    return path


def bad_truncated_plain(folder, volume):
    path = save(folder / "cut.nii", volume)
    path.write_bytes(path.read_bytes()[:800])
    return path


def bad_text(folder, volume):
    path = folder / "text.nii.gz"
    path.write_text("not an image\n" * 50)
    return path


def bad_text_gzipped(folder, volume):
    path = folder / "text.nii.gz"
    path.write_bytes(gzip.compress(b"not an image\n" * 50))
    return path


def bad_empty(folder, volume):
    path = folder / "empty.nii.gz"
    path.write_bytes(b"")
    return path


def bad_huge(folder, volume):
    return corrupt_header(folder / "huge.nii.gz", volume, (32000, 32000, 32000))


def bad_huge_plain(folder, volume):
    return corrupt_header(folder / "huge.nii", volume, (600, 700, 800))


def bad_negative(folder, volume):
    return corrupt_header(folder / "negative.nii.gz", volume, (-6, 7, 8))


def bad_affine(folder, volume):
    raw = bytearray(nib.Nifti1Image(volume, AFFINE).to_bytes())
    raw[280:328] = bytes(48)  # the three rows of the sform
    path = folder / "affine.nii.gz"
    path.write_bytes(gzip.compress(bytes(raw)))
    return path


def bad_missing(folder, volume):
    return folder / "absent.nii.gz"


def bad_kind(folder, volume):
    path = folder / "photo.jpg"
    path.write_bytes(b"\xff\xd8\xff")
    return path


SENTENCES = {
    bad_2d: "is 2D (6 x 7), but a 3D volume is needed",
    bad_one_slice: "is 2D (6 x 7 x 1), but a 3D volume is needed",
    bad_4d: "is 4D (6 x 7 x 8 x 2: a series), but one 3D volume is needed",
    bad_vector: "has 3 channels, but the network takes 1",
    bad_colour: "has 3 colour channels, but the network takes 1",
    bad_nan: "has 1 NaN or Inf voxels of 336",
    bad_inf: "has 2 NaN or Inf voxels of 336",
    bad_constant: "is constant (3)",
    bad_truncated: "is damaged or cut short",
    bad_truncated_header: "is damaged or cut short",
    bad_truncated_plain: "more than its 800 bytes can hold",
    bad_text: "is not gzip data",
    bad_text_gzipped: "is not a readable NIfTI file",
    bad_empty: "is an empty file (0 bytes)",
    bad_huge: "claims 32000 x 32000 x 32000 voxels, more than its",
    bad_huge_plain: "claims 600 x 700 x 800 voxels, more than its",
    bad_negative: "which no image has",
    bad_affine: "has no usable voxel size",
    bad_missing: "does not exist",
    bad_kind: "is not a NIfTI file or a folder of DICOM slices",
}
