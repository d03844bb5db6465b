"""Opens DICOM results with Slicer's own libraries and prints what it sees; runs on the Python that has them.

python slicer_dicom.py FOLDER_OF_A_SERIES FILE...     one JSON object on standard output
"""

import json
import sys
from pathlib import Path

import slicer_core as slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy


def main(folder: str, *files: str) -> None:
    scene, colours, logic = slicer.vtkMRMLScene(), slicer.vtkMRMLColorLogic(), slicer.vtkSlicerVolumesLogic()
    logic.SetMRMLScene(scene)
    colours.SetMRMLScene(scene)
    first, *others = sorted(map(str, Path(folder).glob("*.dcm")))
    names = vtk.vtkStringArray()
    for name in (first, *others):
        names.InsertNextValue(name)
    found = {"series": describe(logic.AddArchetypeVolume(first, "series", 0, names))}
    for file in files:
        found[Path(file).name] = describe(logic.AddArchetypeVolume(file, Path(file).stem, 2))  # 2: this file alone
    print(json.dumps(found))


def describe(node) -> dict | None:
    """Size, voxel to RAS mm, sum and largest voxel of a volume node; None where nothing was loaded."""
    if node is None or node.GetImageData() is None:
        return None
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    voxels = vtk_to_numpy(node.GetImageData().GetPointData().GetScalars())
    return {
        "size": list(node.GetImageData().GetDimensions()),
        "affine": [[matrix.GetElement(row, column) for column in range(4)] for row in range(4)],
        "sum": float(voxels.astype(float).sum()),
        "largest": float(voxels.max()),
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
