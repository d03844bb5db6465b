"""DICOM files of one or many frames, written as scanners do, for tests."""

from io import BytesIO

from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless, generate_uid


def jpeg(picture, quality=95):
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def jpeg2000(picture):
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG2000", no_jp2=True)
    return buffer.getvalue()


def dicom(path, pixels, modality="DX", photometric="MONOCHROME2", bits=12, syntax=ExplicitVRLittleEndian, **tags):
    """Write pixels (H, W), (T, H, W) or, for RGB, (..., H, W, 3); compressed ones are encapsulated."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", generate_uid()
    meta.TransferSyntaxUID = syntax
    dataset = Dataset()
    dataset.file_meta, dataset.is_little_endian, dataset.is_implicit_VR = meta, True, False
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    colour = pixels.shape[-1] == 3
    shape = pixels.shape[:-1] if colour else pixels.shape
    dataset.Modality, dataset.PhotometricInterpretation = modality, photometric
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = *shape[-2:], 3 if colour else 1
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8 * pixels.itemsize, bits, bits - 1
    dataset.PixelRepresentation = 0
    if colour:
        dataset.PlanarConfiguration = 0
    frames = pixels if len(shape) == 3 else pixels[None]
    if len(shape) == 3:
        dataset.NumberOfFrames = len(frames)
    for key, value in tags.items():
        setattr(dataset, key, value)
    if syntax == JPEGBaseline8Bit:
        dataset.PixelData = encapsulate([jpeg(frame) for frame in frames])
        dataset["PixelData"].is_undefined_length = True
    elif syntax == JPEG2000Lossless:
        dataset.PixelData = encapsulate([jpeg2000(frame) for frame in frames])
        dataset["PixelData"].is_undefined_length = True
    elif syntax == RLELossless:
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.PixelData = pixels.tobytes()
        dataset.compress(RLELossless, encoding_plugin="pydicom")
    else:
        dataset.PixelData = pixels.tobytes()
    dataset.save_as(path, write_like_original=False)
    return path
