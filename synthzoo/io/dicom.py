"""Results as DICOM objects that a hospital's viewer opens: MR and CT series, radiographs, ultrasound, segmentations.

UIDs are a function of the request, so that the same run gives the same objects and a rerun replaces them. Nothing in
the objects states a date, since an image of nobody has none. Coordinates go in as RAS, as NIfTI has them, and out as
LPS. Source: DICOM PS3.3, modules by the names in the comments.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRLittleEndian
from pydicom.valuerep import DSfloat

import synthzoo
from synthzoo.errors import UserError
from synthzoo.io.files import atomic_folder, atomic_path, text_of
from synthzoo.io.marks import Mark, mark_dataset
from synthzoo.io.opening import open_dicom

NAMESPACE = uuid.UUID("6f1c3f0e-5d0b-5a5e-9a53-3a0d2f7c9b41")
CLASSES = {
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "DX": "1.2.840.10008.5.1.4.1.1.1.1",
    "US": "1.2.840.10008.5.1.4.1.1.3.1",
}
MR_TOP = 4095  # 12 bits, as scanners write them
CT_BASE = -1024  # HU of the stored value 0
TAKEN_OVER = (  # of the series that was given: whose images these are
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge"),
    *("StudyInstanceUID", "StudyID", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName"),
    *("StudyDescription", "FrameOfReferenceUID", "PositionReferenceIndicator"),
)


def uid_of(*parts: Any) -> str:
    """UID under 2.25 that these parts decide."""
    return f"2.25.{uuid.uuid5(NAMESPACE, '|'.join(map(str, parts))).int}"


@dataclass
class Study:
    """The patient and study that a case's objects belong to.

    Args:
        case: the case's name; an invented patient bears it.
        identity: what decides the case's result, as text; with the case it decides every UID.
        requested: conditions of the request; `age` in years and `sex` F or M go into the patient's attributes.
        given: the image that was given, a NIfTI file or a folder with a DICOM series; None where nothing was.
        source: headers of the DICOM series that was given: the objects join its patient, study and frame of reference.
        images: the image series of this case, to which a segmentation refers.
    """

    case: str
    identity: str
    requested: Mapping[str, Any] = field(default_factory=dict)
    given: Path | None = None
    source: Sequence[Dataset] = ()
    images: list[Dataset] = field(default_factory=list)

    def uid(self, *parts: Any) -> str:
        """UID of one of the study's things."""
        return uid_of(text_of(self.case), self.identity, *parts)

    @property
    def name(self) -> str:
        """The case's name without what DICOM reads as the end of a part of a text."""
        return re.sub(r"[\\^=]", "-", text_of(self.case))

    def stamp(self, dataset: Dataset, modality: str, series: str) -> None:
        """Write the patient, study, series, equipment and frame-of-reference modules into an object."""
        age, sex = self.requested.get("age"), self.requested.get("sex")
        dataset.PatientName = f"Synthetic^{self.name[:48]}" if self.given is None else f"{self.name[:60]}^"
        dataset.PatientID = f"{self.name[:55]}-{uuid.uuid5(NAMESPACE, self.identity).hex[:8]}"
        dataset.PatientBirthDate, dataset.PatientSex = "", sex if sex in ("F", "M") else ""
        if isinstance(age, (int, float)) and 0 <= age < 1000:
            dataset.PatientAge = f"{round(age):03d}Y"
        dataset.StudyInstanceUID = self.uid("study")
        dataset.StudyDate = dataset.StudyTime = dataset.AccessionNumber = dataset.ReferringPhysicianName = ""
        dataset.StudyID = self.name[:16]
        if modality in ("MR", "CT"):
            dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator = self.uid("frame of reference"), ""
        for key in TAKEN_OVER if self.source else ():
            if key in self.source[0] and (key in dataset or "Frame" not in key and "Position" not in key):
                setattr(dataset, key, getattr(self.source[0], key))
        dataset.Modality, dataset.SeriesInstanceUID = modality, self.uid("series", series)
        dataset.SeriesNumber, dataset.SeriesDescription = 1, series[:64]
        dataset.Manufacturer, dataset.ManufacturerModelName = "SynthZoo", "synthzoo"
        dataset.SoftwareVersions = synthzoo.__version__
        if modality != "DX":
            dataset.Laterality = ""


def new_object(study: Study, modality: str, series: str, number: int, mark: Mark | None) -> FileDataset:
    """An object of a storage class with everything but its image; `number` is the instance's, from 1."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CLASSES[modality]
    meta.MediaStorageSOPInstanceUID = study.uid("instance", series, number)
    meta.ImplementationClassUID, meta.ImplementationVersionName = uid_of("synthzoo"), "SYNTHZOO"
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.is_little_endian, dataset.is_implicit_VR = True, False
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    study.stamp(dataset, modality, series)
    dataset.InstanceNumber = number
    if mark is not None:
        mark_dataset(dataset, mark)
    return dataset


def set_pixels(dataset: Dataset, frames: np.ndarray, bits: int) -> None:
    """Write the image pixel module: grey [H, W] or [T, H, W], unsigned, `bits` of 8 or 16 stored."""
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = frames.shape[-2:]
    dataset.BitsAllocated = 8 if frames.dtype == np.uint8 else 16
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, 0
    data = np.ascontiguousarray(frames).tobytes()
    dataset.add_new("PixelData", "OB" if frames.dtype == np.uint8 else "OW", data + b"\0" * (len(data) % 2))


def decimal(value: float) -> DSfloat:
    """A decimal string of at most 16 characters."""
    return DSfloat(float(value), auto_format=True)


def save(dataset: Dataset, path: str | Path) -> None:
    """Write an object whole or not at all."""
    with atomic_path(path) as temporary:
        pydicom.dcmwrite(temporary, dataset, write_like_original=False)


def study_of(
    case: str, identity: str, requested: Mapping[str, Any] | None = None, given: str | Path | None = None
) -> Study:
    """The study of a case; that of the DICOM series that was given, if one was."""
    given = None if given is None else Path(given)
    source: list[Dataset] = []
    if given is not None and given.is_dir():
        found = (open_dicom(path, stop_before_pixels=True, force=True) for path in sorted(given.iterdir()))
        found = [header for header in found if "Rows" in header and "SeriesInstanceUID" in header]
        source = [header for header in found if header.SeriesInstanceUID == found[0].SeriesInstanceUID]
    return Study(case, identity, requested or {}, given, source)


# --- volumes ---------------------------------------------------------------------------------------------------------


def to_lps(volume: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A volume [D, H, W] with its axes turned to run left, back and up, and its affine [4, 4] to LPS mm.

    Raises:
        UserError: an affine whose axes are not at right angles; DICOM slices are.
    """
    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(affine), nib.orientations.axcodes2ornt(("L", "P", "S"))
    )
    turned = nib.orientations.apply_orientation(volume, turn)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine @ nib.orientations.inv_ornt_aff(turn, volume.shape)
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if np.abs(axes.T @ axes - np.eye(3)).max() > 1e-3:
        raise UserError("the image's axes are not at right angles, as DICOM needs them: use output_format native.")
    return turned, affine


def series_of(
    volume: np.ndarray, affine: np.ndarray, study: Study, name: str, modality: str, mark: Mark | None
) -> list[FileDataset]:
    """A volume as the slices of an MR or CT series, from the feet up.

    Args:
        volume: [D, H, W]. MR in [0, 1] or any other range from 0, stored with 12 bits; CT in HU from -1024.
        affine: [4, 4] voxel to RAS mm.
        study: whose series it is.
        name: the series' description, such as T1w.
        modality: MR or CT.
        mark: what the slices say of their content.
    """
    turned, affine = to_lps(np.asarray(volume, dtype=np.float64), affine)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    low = min(0.0, float(turned.min()))
    if modality == "CT":
        stored = np.rint(turned - CT_BASE).clip(0, 65535).astype(np.uint16)
    else:
        stored = np.rint((turned - low) * MR_TOP / max(1.0 if low == 0 else 0.0, float(turned.max()) - low, 1e-9))
        stored = stored.astype(np.uint16)
    slices = []
    for k in range(turned.shape[2]):
        one = new_object(study, modality, name, k + 1, mark)
        one.ImageType = ["DERIVED", "SECONDARY", "AXIAL" if modality == "CT" else "OTHER"]
        one.PixelSpacing = [decimal(spacing[1]), decimal(spacing[0])]
        one.ImageOrientationPatient = [decimal(v) for v in (affine[:3, :2] / spacing[:2]).T.ravel()]
        one.ImagePositionPatient = [decimal(v) for v in (affine @ [0, 0, k, 1])[:3]]
        one.SliceThickness, one.SliceLocation = decimal(spacing[2]), decimal(k * spacing[2])
        one.AcquisitionNumber, one.PatientPosition = None, "HFS"
        set_pixels(one, stored[:, :, k].T, 16 if modality == "CT" else 12)
        if modality == "CT":
            one.KVP = None
            one.RescaleIntercept, one.RescaleSlope, one.RescaleType = CT_BASE, 1, "HU"
            one.WindowCenter, one.WindowWidth = [40, -600], [400, 1500]
            one.WindowCenterWidthExplanation = ["SOFT TISSUE", "LUNG"]
        else:
            one.ScanningSequence, one.SequenceVariant, one.ScanOptions = "RM", "NONE", ""
            one.MRAcquisitionType, one.SpacingBetweenSlices = "3D", decimal(spacing[2])
            one.RepetitionTime = one.EchoTime = one.EchoTrainLength = None
            one.WindowCenter, one.WindowWidth = MR_TOP // 2 + 1, MR_TOP
        slices.append(one)
    return slices


def write_series(folder: str | Path, slices: Sequence[FileDataset]) -> None:
    """Write the slices of a series into a folder of its own, which appears whole or not at all."""
    with atomic_folder(folder) as temporary:
        for number, one in enumerate(slices, start=1):
            pydicom.dcmwrite(temporary / f"{number:04d}.dcm", one, write_like_original=False)


# --- radiographs -----------------------------------------------------------------------------------------------------


def write_radiograph(
    path: str | Path, image: np.ndarray, pixel_mm: float | None, study: Study, name: str, mark: Mark | None
) -> None:
    """Write a chest radiograph [H, W] in [0, 1], white is dense, as Digital X-Ray for presentation, 12 bits.

    Args:
        path: the file.
        image: [H, W].
        pixel_mm: side of a pixel on the detector; None writes 1, of which the object says that it is unknown.
        study: whose image it is.
        name: the series' description.
        mark: what the object says of its content.
    """
    one = new_object(study, "DX", name, 1, mark)
    one.PresentationIntentType = "FOR PRESENTATION"  # DX series
    one.ImageType, one.AcquisitionNumber = ["DERIVED", "PRIMARY", ""], None
    one.PatientOrientation, one.ImageLaterality = ["L", "F"], "U"
    one.BodyPartExamined, one.PositionerType = "CHEST", ""
    region = Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "51185008", "SCT", "Chest"
    one.AnatomicRegionSequence = Items([region])
    one.AcquisitionContextSequence = Items([])
    one.DetectorType = ""  # DX detector
    spacing = [decimal(pixel_mm or 1.0)] * 2
    one.ImagerPixelSpacing = spacing
    if pixel_mm is None:
        one.ImageComments = "The size of a pixel is unknown; 1 mm stands in its place."
    set_pixels(one, np.rint(np.clip(image, 0, 1) * MR_TOP).astype(np.uint16), 12)  # DX image
    one.PixelIntensityRelationship, one.PixelIntensityRelationshipSign = "LOG", -1
    one.RescaleIntercept, one.RescaleSlope, one.RescaleType = 0, 1, "US"
    one.PresentationLUTShape, one.BurnedInAnnotation, one.LossyImageCompression = "IDENTITY", "NO", "00"
    one.WindowCenter, one.WindowWidth = MR_TOP // 2 + 1, MR_TOP
    one.DerivationDescription = "computed by a network"
    save(one, path)


# --- ultrasound ------------------------------------------------------------------------------------------------------


def write_ultrasound(
    path: str | Path,
    frames: np.ndarray,
    fps: float,
    pixel_mm: float | None,
    study: Study,
    name: str,
    mark: Mark | None,
) -> None:
    """Write a grey video uint8 (T, H, W) as Ultrasound Multi-frame, uncompressed.

    Args:
        path: the file.
        frames: uint8 (T, H, W).
        fps: frames per second; the object states the time of a frame in ms.
        pixel_mm: side of a pixel; it becomes the scale of one region over the whole image. None states no scale.
        study: whose video it is.
        name: the series' description.
        mark: what the object says of its content.
    """
    one = new_object(study, "US", name, 1, mark)
    one.ImageType, one.PatientOrientation = ["DERIVED", "PRIMARY"], ""
    set_pixels(one, frames, 8)
    one.NumberOfFrames = len(frames)
    one.FrameIncrementPointer = pydicom.tag.Tag("FrameTime")
    one.FrameTime = decimal(1000.0 / fps)  # milliseconds
    one.RecommendedDisplayFrameRate, one.StartTrim, one.StopTrim = max(1, round(fps)), 1, len(frames)
    one.BurnedInAnnotation, one.LossyImageCompression = "NO", "00"
    one.DerivationDescription = "computed by a network"
    if pixel_mm is not None:  # US region calibration
        region = Dataset()
        region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = 1, 1, 0  # 2D, tissue
        region.RegionLocationMinX0 = region.RegionLocationMinY0 = 0
        region.RegionLocationMaxX1, region.RegionLocationMaxY1 = frames.shape[2] - 1, frames.shape[1] - 1
        region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3  # cm
        region.PhysicalDeltaX = region.PhysicalDeltaY = pixel_mm / 10
        one.SequenceOfUltrasoundRegions = Items([region])
    save(one, path)


# --- segmentations ---------------------------------------------------------------------------------------------------


def write_segmentation(
    path: str | Path, labels: np.ndarray, affine: np.ndarray, study: Study, name: str, mark: Mark | None
) -> None:
    """Write a label map as a DICOM segmentation over the case's image series, by `highdicom`.

    Args:
        path: the file.
        labels: integers [D, H, W], 0 is background; every value from 1 that occurs is a segment.
        affine: [4, 4] voxel to RAS mm.
        study: has the series it belongs to, as `images` or `source`.
        name: the series' description.
        mark: what the object says of its content.

    Raises:
        UserError: nothing is marked in the map, which DICOM cannot say, or there is no series to refer to.
    """
    import highdicom as hd
    from highdicom.sr.coding import Code

    logging.getLogger("highdicom").setLevel(logging.WARNING)  # it tells of every module that it copies

    sources = list(study.images or study.source)
    values = [int(value) for value in np.unique(labels) if value > 0]
    if not sources or not values:
        raise UserError(f"{path}: a DICOM segmentation needs an image series and at least one marked voxel.")
    turned, affine = to_lps(labels, affine)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    algorithm = hd.AlgorithmIdentificationSequence(
        name=str((mark.record.get("bundle") if mark else "") or "synthzoo"),
        family=Code("123110", "DCM", "Artificial Intelligence"),
        version=str((mark.record.get("version") if mark else "") or synthzoo.__version__),
    )
    segments = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=f"region {value}",
            segmented_property_category=Code("49755003", "SCT", "Morphologically Abnormal Structure"),
            segmented_property_type=Code("52988006", "SCT", "Lesion"),
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
        )
        for number, value in enumerate(values, start=1)
    ]
    frames = np.stack([turned == value for value in values], axis=-1).transpose(2, 1, 0, 3).astype(np.uint8)
    orientation = (affine[:3, :2] / spacing[:2]).T.ravel()
    dataset = hd.seg.Segmentation(
        source_images=sources,
        pixel_array=frames,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=segments,
        series_instance_uid=study.uid("series", name),
        series_number=100,
        sop_instance_uid=study.uid("instance", name, 1),
        instance_number=1,
        manufacturer="SynthZoo",
        manufacturer_model_name="synthzoo",
        software_versions=synthzoo.__version__,
        device_serial_number="1",
        content_description=name[:64],
        series_description=name[:64],
        plane_orientation=hd.PlaneOrientationSequence("PATIENT", orientation),
        pixel_measures=hd.PixelMeasuresSequence([spacing[1], spacing[0]], spacing[2], spacing[2]),
        plane_positions=[
            hd.PlanePositionSequence("PATIENT", (affine @ [0, 0, k, 1])[:3].tolist()) for k in range(turned.shape[2])
        ],
    )
    for key in ("InstanceCreation", "Series", "Content"):  # equal maps give equal files
        for part, value in (("Date", "20000101"), ("Time", "000000")):
            if key + part in dataset:
                setattr(dataset, key + part, value)
    if mark is not None:
        mark_dataset(dataset, mark)
    save(dataset, path)
