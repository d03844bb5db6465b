"""What an input file holds, by its content and then by its name: the one place that knows the endings of inputs.

A kind is what a bundle takes: "volume", "image" (2D), "video", "label" (a label map) or "latents". A format is how it
is stored. NIfTI and DICOM hold several kinds, and their headers say which.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pydicom

KINDS = ("volume", "image", "video", "label", "latents")
ENDINGS: dict[str, tuple[str, ...]] = {
    "nifti": (".nii", ".nii.gz"),
    "dicom": (".dcm", ".dicom", ".ima"),
    "png": (".png",),
    "jpeg": (".jpg", ".jpeg"),
    "avi": (".avi",),
    "mov": (".mp4", ".m4v", ".mov"),
    "matroska": (".mkv", ".webm"),
    "latents": (".pt",),
    "nrrd": (".nrrd",),
}
HOLDS: dict[str, tuple[str, ...]] = {
    "nifti": ("volume", "video", "label"),
    "dicom": ("volume", "image", "video"),
    "png": ("image", "label"),
    "jpeg": ("image",),
    "avi": ("video",),
    "mov": ("video",),
    "matroska": ("video",),
    "latents": ("latents",),
    "nrrd": ("image",),  # of one slice in colour; see `synthzoo.io.colour_volumes`
}
NAMES = {
    "nifti": "a NIfTI file",
    "dicom": "a DICOM file",
    "png": "a PNG",
    "jpeg": "a JPEG",
    "avi": "an AVI file",
    "mov": "an MP4 or QuickTime file",
    "matroska": "a Matroska or WebM file",
    "nrrd": "an NRRD file",
}
MARKS = {  # at the first byte
    b"\x89PNG": "png",
    b"\xff\xd8\xff": "jpeg",
    b"\x1a\x45\xdf\xa3": "matroska",
    b"NRRD000": "nrrd",
}
FOREIGN = {
    b"GIF8": "a GIF",
    b"\x93NUM": "a NumPy array",
    b"PK\x03\x04": "a zip archive (.npz, .pt)",
    b"\x30\x26\xb2\x75": "a Windows Media file",
    b"\x00\x00\x01\xba": "an MPEG file",
}
MOVING = ("US", "IVUS", "XA", "RF", "ES", "XC", "OP")  # modalities whose DICOM files of many frames are videos
FLAT = ("CR", "DX", "MG", "DR", "IO", "PX", "GM", "SM", "OP", "SC", "OT", "RG", "XC", *MOVING)  # and of one, pictures

# Storage classes of files that state no modality, as some that were de-identified.
CLASSES = {
    "1.2.840.10008.5.1.4.1.1.1": "CR",
    "1.2.840.10008.5.1.4.1.1.1.1": "DX",
    "1.2.840.10008.5.1.4.1.1.1.1.1": "DX",
    "1.2.840.10008.5.1.4.1.1.1.2": "MG",
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.3.1": "US",
    "1.2.840.10008.5.1.4.1.1.4": "MR",
    "1.2.840.10008.5.1.4.1.1.6.1": "US",
    "1.2.840.10008.5.1.4.1.1.7": "SC",
}


def format_of(path: str | Path) -> str | None:
    """The format of a file, a key of `ENDINGS`, by its content, else by its name; None where neither says."""
    path = Path(path)
    return format_of_content(first_bytes(path)) or format_of_name(path.name)


def format_of_name(name: str) -> str | None:
    """The format that the ending of a name stands for, or None."""
    return next((form for form, endings in ENDINGS.items() if name.lower().endswith(endings)), None)


def format_of_content(head: bytes) -> str | None:
    """The format that the first 352 bytes of a file show, or None: gzip may hold anything."""
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide"):
        return "mov"
    if head[128:132] == b"DICM":
        return "dicom"
    if head[344:348] in (b"n+1\0", b"ni1\0"):
        return "nifti"
    return next((form for mark, form in MARKS.items() if head.startswith(mark)), None)


def what_is(head: bytes) -> str:
    """What a file is by its first bytes, in words."""
    form = format_of_content(head)
    return NAMES[form] if form else next((said for mark, said in FOREIGN.items() if head.startswith(mark)), "")


def first_bytes(path: Path, count: int = 352) -> bytes:
    """The first bytes of a file, none where it cannot be read: whoever reads it says why."""
    try:
        with open(path, "rb") as file:
            return file.read(count)
    except OSError:
        return b""


def endings_of(kinds: Collection[str]) -> tuple[str, ...]:
    """All endings of files that may hold one of these kinds."""
    found = [ending for form, endings in ENDINGS.items() if set(HOLDS[form]) & set(kinds) for ending in endings]
    return tuple(ending for ending in found if ending not in ENDINGS["dicom"])


def stem(name: str) -> str:
    """A file name without its extension, where `.nii.gz` counts as one."""
    known = [ending for endings in ENDINGS.values() for ending in endings] + [".mha"]
    for ending in sorted(known, key=len, reverse=True):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name if Path(name).suffix[1:].isdigit() else Path(name).stem  # a UID is not cut


def is_input(path: Path, kinds: Collection[str]) -> bool:
    """Whether a file, or a folder of DICOM slices, that was found in a folder counts for a bundle that takes `kinds`.

    Hidden files never do. A single slice of a series does not: its folder does.
    """
    if path.name.startswith("."):
        return False
    if path.is_dir():
        return "volume" in kinds and is_dicom_folder(path)
    form = format_of_name(path.name)
    if form is None and format_of_content(first_bytes(path)) == "dicom":
        form = "dicom"  # files of scanners are often named by their UIDs
    if form == "dicom":
        kind = dicom_kind(path)
        return kind in kinds and kind != "volume"
    if form == "nrrd" or (form == "nifti" and not {"volume", "label"} & set(kinds)):
        from synthzoo.io.colour_volumes import is_colour_volume
        from synthzoo.io.volumes import is_nifti_video

        if "image" in kinds and is_colour_volume(path):
            return True
        return "video" in kinds and is_nifti_video(path)
    return form is not None and bool(set(HOLDS[form]) & set(kinds))


def is_dicom_folder(path: Path) -> bool:
    """Whether a folder holds the slices of a volume directly: DICOM files by content or name, no pictures or videos."""
    if not path.is_dir():
        return False
    files = [file for file in sorted(path.iterdir()) if file.is_file() and not file.name.startswith(".")]
    named = [file for file in files if format_of_name(file.name) == "dicom"]
    others = [file for file in files if format_of_name(file.name) is None][:3]
    found = named or [file for file in others if format_of_content(first_bytes(file)) == "dicom"]
    return bool(found) and dicom_kind(found[0]) == "volume"


def dicom_kind(path: Path) -> str:
    """What a DICOM file holds by its header: "video", "image", or "volume", one slice or all of it."""
    from synthzoo.io.opening import open_dicom

    tags = ["Modality", "SOPClassUID", "NumberOfFrames"]
    try:
        header = open_dicom(path, stop_before_pixels=True, specific_tags=tags)
        many, modality = int(header.get("NumberOfFrames") or 1) > 1, stated_modality(header)
    except Exception:  # pydicom raises many kinds for damaged files; whoever reads it says what is wrong with it
        return "volume"
    if many:
        return "video" if modality in MOVING else "volume"
    return "image" if modality in FLAT else "volume"


def stated_modality(header: pydicom.Dataset) -> str:
    """What a DICOM header says that it is, such as "MR", by its modality or else its storage class; "" if neither."""
    own = str(header.get("Modality") or "").strip()
    stored = header.get("SOPClassUID") or getattr(header, "file_meta", {}).get("MediaStorageSOPClassUID")
    return own or CLASSES.get(str(stored or ""), "")
