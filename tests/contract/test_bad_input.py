"""What people get wrong, given to the real bundles: each mistake ends in one sentence with file or key and a remedy.

Bundles are found, not listed: those with a key `images` get bad scans, those with `requests` bad requests, all of them
bad weights. Where each kind of mistake is tested:

    missing file, 2D, 4D, wrong channels, NaN, Inf, constant, truncated gzip here; all variants: unit/test_images.py
    DICOM: a good series, one that is damaged                                here
    radiographs: what is none, and what is one in an unusual file            test_bad_radiographs.py
    unknown condition, by option and by column                               here; in values: unit/test_requests.py
    value out of range, unreadable row of a table                            here; all variants: unit/test_requests.py
    bad row of participants.tsv (training)                                   unit/test_tsv.py
    no disk space, for results and for weights                               here; leaves nothing: unit/test_outputs.py
    no disk space for a download                                             test_download.py
    weights that are absent, damaged, of another bundle                      here; hostile: unit/test_bundle_tools.py
    corrupted zip, zip with ../ in it, zip of another hash                   test_download.py
    no traceback on the command line                                         test_command_line.py
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import bad_images
import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_runs import ROOT, quick
from monai.transforms import Orientation

from synthzoo.bundle.compose import load_config, run_bundle
from synthzoo.bundle.find import find_bundles, read_json, read_metadata
from synthzoo.errors import find_user_error
from synthzoo.io.radiographs import MODALITIES as RADIOGRAPHS
from synthzoo.networks.saving import save_atomically
from synthzoo.serving.audit_sources import makes_finer, makes_images_alone

BUNDLES = find_bundles(ROOT)
CONFIGS = {bundle: read_json(bundle / "configs" / "inference.json") for bundle in BUNDLES}
OF_IMAGES = [bundle for bundle in BUNDLES if "images" in CONFIGS[bundle]]
PICTURES = ("XC", *RADIOGRAPHS)  # photographs: each system's own tests
FLAT = ("US", *PICTURES)  # videos and pictures


def modality(bundle, side, name) -> str:
    return read_metadata(bundle)["network_data_format"][side][name].get("modality", "")


# Radiographs: test_bad_radiographs.py.
OF_SCANS = [bundle for bundle in OF_IMAGES if modality(bundle, "inputs", "image") not in PICTURES]
OF_LABELS = [b for b in OF_IMAGES if "labels" in read_metadata(b)["network_data_format"]["inputs"]]
# A series of slices is a volume, no video and no label map.
OF_VOLUMES = [b for b in OF_IMAGES if modality(b, "inputs", "image") not in FLAT and b not in OF_LABELS]
OF_REQUESTS = [bundle for bundle in BUNDLES if "requests" in CONFIGS[bundle]]
# A slice or a video of a small network finds room where a volume does not.
OF_WRITTEN_VOLUMES = [
    bundle
    for bundle in OF_REQUESTS
    if modality(bundle, "outputs", "pred") not in FLAT
    and len(read_metadata(bundle)["network_data_format"]["outputs"]["pred"]["spatial_shape"]) == 3
]
BAD_IMAGES = [
    bad_images.bad_missing,
    bad_images.bad_2d,
    bad_images.bad_4d,
    bad_images.bad_vector,
    bad_images.bad_nan,
    bad_images.bad_inf,
    bad_images.bad_constant,
    bad_images.bad_truncated,
]


def for_each(bundles):
    return pytest.mark.parametrize("bundle", bundles, ids=lambda bundle: bundle.name)


def refusal(bundle, part, overrides) -> str:
    """The one sentence with which a part of a bundle's inference.json refuses these values."""
    with pytest.raises(Exception) as caught:
        load_config(bundle, overrides=overrides).get_parsed_content(part)
    error = find_user_error(caught.value)
    assert error is not None, f"a mistake that nobody worded: {caught.value!r}"
    assert "\n" not in str(error) and str(error).rstrip()[-1] == "."
    return str(error)


@for_each(OF_SCANS)
@pytest.mark.parametrize("make", BAD_IMAGES, ids=lambda make: make.__name__)
def test_a_bad_scan_is_refused_by_name(bundle, make, tmp_path):
    path = make(tmp_path, np.random.default_rng(0).random((6, 7, 8), dtype=np.float32))
    sentence = refusal(bundle, "dataset", {"images": str(path), "output_dir": str(tmp_path / "out")})
    assert str(path) in sentence and bad_images.SENTENCES[make] in sentence


def needs_images(bundle) -> bool:
    return bundle not in OF_REQUESTS and not makes_images_alone(read_metadata(bundle)["synthzoo"])


@for_each(bundle for bundle in OF_IMAGES if needs_images(bundle))
def test_no_scan_at_all_is_told(bundle, tmp_path):
    assert "images is ''" in refusal(bundle, "evaluator", {"output_dir": str(tmp_path / "out")})


# --- DICOM ------------------------------------------------------------------------------------------------------------


def write_dicom(folder, voxels, affine) -> None:
    """An MR series as a scanner stores it: `voxels` uint16 [R, A, S] with a diagonal RAS `affine`, one file a slice."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    folder.mkdir()
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    spacing, origin = np.diag(affine)[:3], affine[:3, 3]
    for number in range(voxels.shape[2]):
        meta = pydicom.dataset.FileMetaDataset()
        meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"  # MR image
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = folder / f"IM{voxels.shape[2] - number:04d}.dcm"  # file names in no helpful order
        data = pydicom.dataset.FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
        data.is_little_endian, data.is_implicit_VR = True, False
        data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        data.SeriesInstanceUID, data.StudyInstanceUID, data.FrameOfReferenceUID = series, study, frame
        data.Modality, data.PatientID, data.SeriesNumber, data.InstanceNumber = "MR", "phantom", 1, number + 1
        # Columns run to the left of the patient, rows to the back: DICOM's axes are those of RAS with two signs turned.
        data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        right, front = (origin + spacing * (np.array(voxels.shape) - 1))[:2]
        data.ImagePositionPatient = [float(-right), float(-front), float(origin[2] + spacing[2] * number)]
        data.PixelSpacing, data.SliceThickness = [float(spacing[1]), float(spacing[0])], float(spacing[2])
        data.SpacingBetweenSlices = float(spacing[2])
        data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
        data.Rows, data.Columns = voxels.shape[1], voxels.shape[0]
        data.PixelData = np.ascontiguousarray(voxels[::-1, ::-1, number].T).tobytes()
        data.save_as(str(path), write_like_original=False)


@for_each(OF_VOLUMES)
def test_a_dicom_series_gives_what_the_same_scan_gives_as_nifti(bundle, phantom, tmp_path):
    voxels = np.round(phantom.image * 4000).astype(np.uint16)
    write_dicom(tmp_path / "series", voxels, phantom.anatomy.affine)
    nib.save(nib.Nifti1Image(voxels.astype(np.int16), phantom.anatomy.affine), tmp_path / "scan.nii.gz")
    seen = {}
    for name in ("series", "scan.nii.gz"):
        made = {"images": str(tmp_path / name), "output_dir": str(tmp_path / "out")}
        image = load_config(bundle, overrides=made).get_parsed_content("dataset")[0]["image"]
        # A network for any orientation sees the scan as it is stored.
        seen[name] = (
            Orientation("RAS")(image) if makes_finer(read_metadata(bundle)["synthzoo"]) else image
        ).as_tensor()
    assert seen["series"].std() > 0
    # A millionth of the brightest voxel: on a turned grid single precision rounds the two storage orders differently.
    torch.testing.assert_close(seen["series"], seen["scan.nii.gz"], atol=1e-6 * 4000, rtol=1e-3)


@for_each(OF_VOLUMES)
def test_a_damaged_dicom_series_is_refused_by_name(bundle, phantom, tmp_path):
    write_dicom(tmp_path / "series", np.round(phantom.image * 4000).astype(np.uint16), phantom.anatomy.affine)
    for path in (tmp_path / "series").iterdir():
        path.write_bytes(path.read_bytes()[:300])
    made = {"images": str(tmp_path / "series"), "output_dir": str(tmp_path / "out")}
    assert f"{tmp_path / 'series'} is not one readable DICOM series" in refusal(bundle, "dataset", made)


@for_each(OF_LABELS)
def test_a_dicom_series_is_no_label_map(bundle, phantom, tmp_path):
    write_dicom(tmp_path / "series", np.round(phantom.image * 4000).astype(np.uint16), phantom.anatomy.affine)
    made = {"images": str(tmp_path / "series"), "output_dir": str(tmp_path / "out")}
    sentence = refusal(bundle, "dataset", made)
    assert f"{tmp_path / 'series'} holds DICOM files, but not of a label map" in sentence


# --- requests ---------------------------------------------------------------------------------------------------------


@for_each(OF_REQUESTS)
def test_a_value_out_of_range_is_told_with_the_range(bundle, tmp_path):
    for name, schema in read_metadata(bundle)["synthzoo"]["conditions"].items():
        if schema["type"] not in ("number", "integer"):
            continue
        low, high = schema["minimum"], schema["maximum"]
        sentence = refusal(bundle, "dataset", {name: high + 7, "output_dir": str(tmp_path)})
        assert all(f"{number:g}" in sentence for number in (low, high, high + 7))
        assert sentence.startswith(name) and schema["unit"] in sentence


@for_each(OF_REQUESTS)
def test_a_bad_line_of_a_table_is_told_by_its_number(bundle, tmp_path):
    names = list(read_metadata(bundle)["synthzoo"]["conditions"])
    table = tmp_path / "requests.tsv"
    made = {"requests": str(table), "output_dir": str(tmp_path / "out")}
    columns = [*names, "seed"]  # a header of one column has no tab, and its table is read with commas
    good = "\t".join(["n/a"] * len(columns))
    table.write_text("\n".join(["\t".join(columns), good, good + "\t1"]) + "\n")
    assert f"{table} line 3: has {len(columns) + 1} cells" in refusal(bundle, "dataset", made)
    table.write_text("\n".join(["\t".join([*columns, "height"]), good + "\t1"]) + "\n")
    sentence = refusal(bundle, "dataset", made)
    assert f"{table} line 1: unknown condition 'height'" in sentence and ", ".join(names) in sentence


@for_each(OF_REQUESTS[-1:])
def test_an_option_that_no_config_reads_ends_the_run_before_it_starts(bundle, tmp_path):
    # MONAI adds any key to the config, so that a misspelt condition would be left out without a word.
    config = bundle / "configs" / "inference.json"
    words = ["--config_file", str(config), "--bundle_root", str(bundle), "--output_dir", "out"]
    name = next(iter(read_metadata(bundle)["synthzoo"]["conditions"]))
    command = [sys.executable, "-m", "monai.bundle", "run", *words, f"--{name}{name[-1]}", "70"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert result.returncode == 1 and "Traceback" not in result.stderr, result.stderr
    sentences = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(sentences) == 1 and f"did you mean --{name}?" in sentences[0], result.stderr
    assert not list(tmp_path.iterdir())


# --- weights ----------------------------------------------------------------------------------------------------------


@for_each(BUNDLES)
def test_weights_that_are_absent_damaged_or_foreign_are_told_apart(bundle, tmp_path):
    absent, damaged = tmp_path / "absent.pt", tmp_path / "damaged.pt"
    own = (bundle / "models" / "model.pt").read_bytes()
    damaged.write_bytes(own[: len(own) // 2])
    foreign = BUNDLES[BUNDLES.index(bundle) - 1] / "models" / "model.pt"
    told = {absent: "do not exist", damaged: "download it again", foreign: "belong to another network"}
    for path, words in told.items():
        sentence = refusal(bundle, "network", {"network#path": str(path)})
        assert str(path) in sentence and words in sentence


# --- disk -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def full_disk(tmp_path):
    """A folder with room for 128 KiB: a file system of its own where one may mount it, else a limit on each file."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    if os.geteuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0:
        yield folder
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # a traceback may hold a file open
        return
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (128 * 1024, before[1]))
    yield folder
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@for_each(OF_WRITTEN_VOLUMES[-1:])
def test_a_full_disk_ends_a_run_in_a_sentence_and_leaves_no_half_volume(bundle, full_disk, phantom_nifti):
    with pytest.raises(Exception) as caught:
        run_bundle(bundle, overrides=quick(bundle, phantom_nifti, full_disk, num_samples=1))
    sentence = str(find_user_error(caught.value))
    assert f"no space left to write {full_disk}" in sentence and "run the same command again" in sentence
    assert not [path for path in full_disk.rglob("*") if path.is_file()]


def test_a_full_disk_keeps_the_weights_of_before(full_disk):
    path = full_disk / "model.pt"
    save_atomically({"weight": torch.zeros(100)}, path)
    with pytest.raises(Exception) as caught:
        save_atomically({"weight": torch.randn(100_000)}, path)
    sentence = str(find_user_error(caught.value))
    assert str(path) in sentence and "free disk space" in sentence
    assert torch.load(path, weights_only=True)["weight"].shape == (100,)
    assert [file.name for file in full_disk.iterdir()] == ["model.pt"]
