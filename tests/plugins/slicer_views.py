"""Slicer's three slice views, drawn by Slicer's own displayable managers without a screen, and pictures with them."""

from __future__ import annotations

import numpy as np
import vtk
from PySide6 import QtGui, QtWidgets
from trame_slicer.core import SlicerApp
from trame_slicer.views import DirectViewFactory, ViewLayoutDefinition, ViewProps, ViewType
from vtk.util.numpy_support import vtk_to_numpy

ORIENTATIONS = {"Red": "Axial", "Yellow": "Sagittal", "Green": "Coronal"}


SIDE = 360  # pixels of a view; a single one is twice as large


def make_views(host: SlicerApp, size: int = SIDE) -> dict:
    """Name -> slice view, as in Slicer's usual layout; drawn when `pixels` asks, not at every change of the scene."""
    host.view_manager.register_factory(DirectViewFactory(do_render_offscreen=True))
    views = {}
    for name, orientation in ORIENTATIONS.items():
        layout = ViewLayoutDefinition(
            singleton_tag=name, view_type=ViewType.SLICE_VIEW, properties=ViewProps(orientation=orientation)
        )
        view = host.view_manager.create_view(layout)
        view.render_window().SetMultiSamples(0)  # the software renderer loses what is translucent otherwise
        view.set_render_blocked(True)
        view.update_size(size, size)
        views[name] = view
    return views


def pixels(view) -> np.ndarray:
    """What a view shows, [row, column, RGB] uint8, the first row at the top."""
    view.render_window().Render()
    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(view.render_window())
    grab.ReadFrontBufferOff()
    grab.Update()
    image = grab.GetOutput()
    width, height, _ = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1, :, :3].copy()


def picture(panel: QtWidgets.QWidget, views: dict, path: str, width: int = 470) -> bool:
    """The panel beside the views, as in Slicer's window; gives whether it was written."""
    panel.resize(width, max(10, panel.minimumSizeHint().height(), panel.sizeHint().height()))
    panel.show()
    QtWidgets.QApplication.processEvents()
    left = panel.grab().toImage()
    shots = [pixels(view) for view in views.values()]
    side = shots[0].shape[0]
    grid = 2 * side + 6 if len(shots) > 1 else side
    height = max(left.height(), grid)
    canvas = QtGui.QImage(left.width() + grid + 12, height, QtGui.QImage.Format.Format_RGB32)
    canvas.fill(QtGui.QColor(239, 239, 239))
    painter = QtGui.QPainter(canvas)
    painter.drawImage(0, 0, left)
    places = [(0, 0), (side + 6, 0), (0, side + 6)]
    for shot, (x, y) in zip(shots, places):
        rows, columns, _ = shot.shape
        image = QtGui.QImage(shot.tobytes(), columns, rows, 3 * columns, QtGui.QImage.Format.Format_RGB888)
        painter.drawImage(left.width() + 6 + x, y + 6, image)
    painter.end()
    return canvas.save(path)
