"""NIfTI files whose headers hold anything, for the fuzz tests."""

import gzip
import struct

import nibabel as nib
import numpy as np
from fuzzing import odd_value, patched
from hypothesis import strategies as st

# (name, offset, letter of struct) of each number of a header; texts are patched as bytes.
FIELDS_1 = [
    *[("sizeof_hdr", 0, "i"), ("extents", 32, "i"), ("session_error", 36, "h"), ("dim_info", 39, "B")],
    *[(f"dim{n}", 40 + 2 * n, "h") for n in range(8)],
    *[(f"intent_p{n}", 56 + 4 * n, "f") for n in range(3)],
    *[("intent_code", 68, "h"), ("datatype", 70, "h"), ("bitpix", 72, "h"), ("slice_start", 74, "h")],
    *[(f"pixdim{n}", 76 + 4 * n, "f") for n in range(8)],
    *[("vox_offset", 108, "f"), ("scl_slope", 112, "f"), ("scl_inter", 116, "f"), ("slice_end", 120, "h")],
    *[("slice_code", 122, "B"), ("xyzt_units", 123, "B"), ("cal_max", 124, "f"), ("cal_min", 128, "f")],
    *[("slice_duration", 132, "f"), ("toffset", 136, "f"), ("qform_code", 252, "h"), ("sform_code", 254, "h")],
    *[(f"quatern{n}", 256 + 4 * n, "f") for n in range(6)],
    *[(f"srow{n}", 280 + 4 * n, "f") for n in range(12)],
    *[("magic", 344, "I"), ("extension", 348, "I"), ("esize", 352, "i"), ("ecode", 356, "i")],
]
FIELDS_2 = [
    *[("sizeof_hdr", 0, "i"), ("magic", 4, "Q"), ("datatype", 12, "h"), ("bitpix", 14, "h")],
    *[(f"dim{n}", 16 + 8 * n, "q") for n in range(8)],
    *[(f"intent_p{n}", 80 + 8 * n, "d") for n in range(3)],
    *[(f"pixdim{n}", 104 + 8 * n, "d") for n in range(8)],
    *[("vox_offset", 168, "q"), ("scl_slope", 176, "d"), ("scl_inter", 184, "d"), ("cal_max", 192, "d")],
    *[("qform_code", 344, "i"), ("sform_code", 348, "i"), *[(f"quatern{n}", 352 + 8 * n, "d") for n in range(6)]],
    *[(f"srow{n}", 400 + 8 * n, "d") for n in range(12)],
    *[("slice_code", 496, "i"), ("xyzt_units", 500, "i"), ("intent_code", 504, "i"), ("extension", 540, "I")],
]
TYPES = ("u1", "i2", "i4", "f4", "f8", "c8", "u2", "i8")
SHAPE = (5, 6, 7)
DATATYPES = st.sampled_from([0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024, 1280, 1536, 1792, 2048, 2304])


def nifti(kind="f4", version=1, shape=SHAPE, extension=b""):
    """The bytes of a sound file."""
    voxels = np.random.default_rng(0).uniform(0, 100, shape).astype(kind)
    made = (nib.Nifti1Image if version == 1 else nib.Nifti2Image)(voxels, np.diag([2.0, 3, 4, 1]), dtype=kind)
    made.set_qform(made.affine, 1)
    if extension:
        made.header.extensions.append(nib.nifti1.Nifti1Extension(6, extension))
    return made.to_bytes()


@st.composite
def headers(draw):
    """Bytes of a NIfTI file whose header was changed in a few places, and a name for it."""
    version = draw(st.sampled_from([1, 1, 1, 2]))
    shape = draw(st.sampled_from([*[SHAPE] * 6, *[(5, 6, 1, 4)] * 3, (5, 6, 7, 2), (5, 6, 7, 1, 3), (5, 6)]))
    data = nifti(draw(st.sampled_from(TYPES)), version, shape, draw(st.sampled_from([b"", b"text", b'{"a": 1}'])))
    changes = []
    for _ in range(draw(st.integers(1, 4))):
        name, at, kind = draw(st.sampled_from(FIELDS_1 if version == 1 else FIELDS_2))
        if name in ("sizeof_hdr", "magic", "datatype", "bitpix", "dim0", "vox_offset") and draw(st.integers(0, 2)):
            continue  # most of their values end the reading, and the rest is to be seen too
        if name == "datatype" and draw(st.booleans()):
            changes.append((at, struct.pack("<h", draw(DATATYPES))))
        elif name == "magic":
            changes.append((at, draw(st.sampled_from([b"n+1\0", b"ni1\0", b"n+2\0", b"ni2\0", b"\0\0\0\0"]))))
        else:
            changes.append((at, draw(odd_value(kind))))
    data = patched(data, changes)
    if draw(st.integers(0, 15)) == 15:
        data = data[: draw(st.integers(0, len(data)))]
    name = draw(st.sampled_from([*["a.nii"] * 6, *["a.nii.gz"] * 4, "a.hdr", "a.img", "A.NII.GZ"]))
    if name.lower().endswith(".gz"):
        data = gzip.compress(data, 1, mtime=0)
        end = draw(st.integers(0, 15))
        data = data[: draw(st.integers(0, len(data)))] if end == 15 else data + b"\0rubbish" if end == 14 else data
    return name, data


def one(worker, tmp_path, name, data, **options):
    path = tmp_path / name
    path.write_bytes(data)
    return worker.expect("image", path, **options)
