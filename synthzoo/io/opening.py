"""Opening a NIfTI file, however its ending is spelled."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib


def open_nifti(path: str | Path) -> nib.Nifti1Image:
    """Open a NIfTI file; its header is read, its voxels are when they are needed.

    nibabel itself looks for `.nii.Gz` where it was given `.Nii.Gz`, and finds nothing.

    Args:
        path: `.nii` or `.nii.gz`, in capitals or not.

    Raises:
        what `nibabel.load` raises for other files.
    """
    path = Path(path)
    try:
        return nib.load(path)
    except FileNotFoundError:
        if not path.is_file():
            raise
    holders = {part: nib.FileHolder(filename=str(path)) for part in ("header", "image")}
    try:
        return nib.Nifti1Image.from_file_map(holders)
    except nib.spatialimages.HeaderDataError:
        return nib.Nifti2Image.from_file_map(holders)
