"""What clients send to the MONAI Label app: good files are taken, every bad one is refused with a sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("monailabel", reason="monailabel is not installed; docs/pins.md says how")

import nibabel as nib
import requests
from asking import ask, refused, voxels
from monailabel.client.client import MONAILabelClientException

MAP = "phantom_mr_anomaly_map_tiny"


def bad_uploads(scan) -> dict[str, tuple[str, bytes]]:
    import gzip

    good = scan.read_bytes()
    series = nib.Nifti1Image(np.random.default_rng(0).random((8, 8, 8, 4), dtype=np.float32), np.eye(4))
    lie = bytearray(gzip.decompress(good)[:352] + bytes(64))
    lie[40:56] = np.array([3, 2000, 2000, 500, 1, 1, 1, 1], np.int16).tobytes()
    return {
        "truncated": ("a.nii.gz", good[: len(good) // 2]),
        "text": ("a.nii.gz", b"this is a letter"),
        "4D": ("a.nii.gz", gzip.compress(series.to_bytes())),
        "empty": ("a.nii.gz", b""),
        "header lies": ("a.nii.gz", gzip.compress(bytes(lie))),
        "program": ("a.py", b"print(1)"),
        "climbs out": ("../../a.nii.gz", b"text"),
    }


def write_ct(folder) -> list[Path]:
    """Four slices of a CT series."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    series, paths = generate_uid(), []
    for number in range(4):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
        meta.MediaStorageSOPInstanceUID = generate_uid()
        slice_ = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
        slice_.SOPClassUID, slice_.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        slice_.Modality, slice_.SeriesInstanceUID, slice_.InstanceNumber = "CT", series, number + 1
        slice_.ImagePositionPatient, slice_.ImageOrientationPatient = [0, 0, 2 * number], [1, 0, 0, 0, 1, 0]
        slice_.PixelSpacing, slice_.SliceThickness, slice_.Rows, slice_.Columns = [2, 2], 2, 8, 8
        slice_.BitsAllocated = slice_.BitsStored = 16
        slice_.HighBit, slice_.PixelRepresentation, slice_.SamplesPerPixel = 15, 0, 1
        slice_.PhotometricInterpretation = "MONOCHROME2"
        slice_.PixelData = np.random.default_rng(number).integers(0, 999, (8, 8), dtype=np.uint16).tobytes()
        paths.append(folder / f"{number}.dcm")
        slice_.save_as(paths[-1], write_like_original=False)
    return paths


@pytest.mark.parametrize("name", ["truncated", "text", "4D", "empty", "header lies", "program", "climbs out"])
def test_a_bad_upload_is_refused_with_a_sentence_and_the_server_lives_on(server, scans, name):
    file, content = bad_uploads(scans[0])[name]
    sentence = refused(ask(server, MAP, files={"file": (file, content)}))
    assert "image" in sentence and "synthzoo_upload" not in sentence
    answer = requests.put(f"{server.url}/datastore/image?image=bad", files={"file": (file, content)}, timeout=60)
    refused(answer)
    refused(requests.put(f"{server.url}/session/", files={"files": (file, content)}, timeout=60))
    assert "bad" not in server.get("/datastore/?output=all")["objects"]


def test_an_image_and_a_label_are_uploaded_under_safe_names_only(client, server, scans):
    assert client.upload_image(str(scans[0]), "own", {"age": 61})["image"] == "own"
    assert client.datastore()["objects"]["own"]["image"]["info"]["age"] == 61
    answer = requests.put(
        f"{server.url}/datastore/image?image=../../x", files={"file": scans[0].read_bytes()}, timeout=60
    )
    assert "image" in refused(answer)
    with pytest.raises(MONAILabelClientException):
        client.save_label("own", str(scans[0]), tag="../../x")
    client.save_label("own", str(scans[0]), tag="final")
    session = client.create_session(str(scans[0]))["session_id"]
    path, _ = client.infer(MAP, "", {}, session_id=session)
    assert np.array_equal(voxels(path), voxels(client.infer(MAP, "scan_0", {})[0]))
    assert client.get_session(session)["name"] == session
    client.remove_session(session)
    with pytest.raises(MONAILabelClientException, match="no session"):
        client.infer(MAP, "", {}, session_id=session)


def test_a_video_is_kept_and_a_model_of_volumes_says_that_it_takes_none(client, server, tmp_path):
    video = nib.Nifti1Image(np.random.default_rng(0).integers(0, 255, (16, 16, 1, 5), np.uint8), np.eye(4))
    nib.save(video, tmp_path / "video.nii.gz")
    client.upload_image(str(tmp_path / "video.nii.gz"), "video")
    try:
        assert "video" in client.datastore()["objects"]
        answer = requests.post(f"{server.url}/infer/{MAP}?image=video", data={"params": "{}"}, timeout=60)
        assert "2D (16 x 16 x 1 x 5)" in refused(answer)
        sentence = refused(ask(server, MAP, files={"file": ("video.nii.gz", (tmp_path / "video.nii.gz").read_bytes())}))
        assert sentence.startswith("image video.nii.gz is 2D")
    finally:
        requests.delete(f"{server.url}/datastore/?id=video", timeout=60).raise_for_status()


def test_a_series_of_another_modality_and_bad_labels_are_refused(server, scans, tmp_path):
    files = [("files", (path.name, path.read_bytes())) for path in write_ct(tmp_path)]
    session = requests.put(f"{server.url}/session/", files=files, timeout=60)
    assert session.status_code == 200, session.text
    requested = f"{server.url}/infer/{MAP}?session_id={session.json()['session_id']}"
    assert "modality CT, but this model takes MR" in refused(
        requests.post(requested, data={"params": "{}"}, timeout=60)
    )
    text = {"files": [("files", ("a.dcm", b"no slice")), ("files", ("b.dcm", b"no slice"))]}
    assert "DICOM" in refused(requests.put(f"{server.url}/session/", timeout=60, **text))
    good = scans[0].read_bytes()
    for name, content in (("a.nii.gz", b""), ("a.nii.gz", good[: len(good) // 2]), ("a.nrrd", b"text"), ("a.py", b"x")):
        url = f"{server.url}/datastore/label?image=scan_0&tag=other"
        assert "label" in refused(requests.put(url, files={"label": (name, content)}, timeout=60))
    assert "other" not in server.get("/datastore/?output=all")["objects"]["scan_0"]["labels"]
