"""Slicer's and CTK's own widgets that the SynthZoo panel uses, made from Qt so that they work and can be looked at.

`slicer_host` has empty ones, which suffice for a panel that is driven by its .ui file. Here a slider slides, a node
list lists the scene's nodes, and a section has a title and folds.
"""

from __future__ import annotations

import sys

import slicer
from PySide6 import QtCore, QtWidgets
from slicer_host import connect, python_qt


class Slider(python_qt(QtWidgets.QWidget)):
    """ctkSliderWidget: a slider beside a number with its unit."""

    valueChanged = QtCore.Signal(float)

    def __init__(self, parent=None):
        super().__init__(parent)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._slider, self._number = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal), QtWidgets.QDoubleSpinBox()
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._number)
        self._slider.valueChanged.connect(self._slid)
        self._number.valueChanged.connect(self._typed)

    def _place(self, value: float) -> int:
        return round((value - self._number.minimum()) / self._number.singleStep())

    def _slid(self, place: int) -> None:
        if place != self._place(self._number.value()):
            self._number.setValue(self._number.minimum() + place * self._number.singleStep())

    def _typed(self, value: float) -> None:
        self._slider.setValue(self._place(value))
        self.valueChanged.emit(value)

    def _range(self) -> None:
        self._slider.setRange(0, self._place(self._number.maximum()))
        self._slider.setValue(self._place(self._number.value()))

    @property
    def value(self):
        return self._number.value()

    @value.setter
    def value(self, new):
        self._number.setValue(float(new))


def pass_on(name: str, setter: str):
    """A property of the slider that its number has."""

    def put(self, value):
        getattr(self._number, setter)(value)
        self._range()

    return property(lambda self: getattr(self._number, name)(), put)


for name in ("minimum", "maximum", "singleStep", "decimals", "suffix"):
    setattr(Slider, name, pass_on(name, f"set{name[0].upper()}{name[1:]}"))
Slider.pageStep = property(lambda self: self._slider.pageStep(), lambda self, value: None)
Slider.connect = connect


class NodeBox(python_qt(QtWidgets.QComboBox)):
    """qMRMLNodeComboBox: the scene's nodes of some classes."""

    currentNodeChanged = QtCore.Signal(object)
    nodeTypes: tuple = ()
    showChildNodeTypes = True
    addEnabled = removeEnabled = renameEnabled = noneEnabled = selectNodeUponCreation = False

    def setMRMLScene(self, scene):
        self._scene, self._nodes = scene, []
        for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndCloseEvent):
            scene.AddObserver(event, lambda *_: self._list())
        QtWidgets.QComboBox.currentIndexChanged.__get__(self).connect(lambda _: self.currentNodeChanged.emit(None))
        self._list()

    def _list(self):
        chosen = self.currentNode()
        found = [self._scene.GetNthNode(number) for number in range(self._scene.GetNumberOfNodes())]
        self._nodes = [node for node in found if node.GetClassName() in self.nodeTypes]
        self.blockSignals(True)
        self.clear()
        self.addItems([node.GetName() for node in self._nodes])
        if chosen in self._nodes:
            self.setCurrentIndex(self._nodes.index(chosen))
        elif self.noneEnabled:
            self.setCurrentIndex(-1)
        self.blockSignals(False)
        self.currentNodeChanged.emit(None)

    def currentNode(self):
        number = QtWidgets.QComboBox.currentIndex(self)
        return self._nodes[number] if 0 <= number < len(self._nodes) else None

    def setCurrentNode(self, node):
        self.setCurrentIndex(self._nodes.index(node) if node in self._nodes else -1)


NodeBox.connect = connect


class Section(python_qt(QtWidgets.QGroupBox)):
    """ctkCollapsibleButton: a title whose content folds away."""

    @property
    def text(self):
        return self.title[2:]

    @text.setter
    def text(self, title):
        self.title = f"{'▸' if self.collapsed else '▾'} {title}"

    @property
    def collapsed(self):
        return getattr(self, "_folded", False)

    @collapsed.setter
    def collapsed(self, folded):
        title, self._folded = self.text, bool(folded)
        self.text = title
        for child in self.children():
            self._fold(child)

    def childEvent(self, event):
        if event.added():
            child = event.child()
            QtCore.QTimer.singleShot(0, lambda: self._fold(child))

    def _fold(self, child):
        if isinstance(child, QtWidgets.QWidget) and self.collapsed:
            QtWidgets.QWidget.setMaximumHeight(child, 0)


def install() -> None:
    """After `slicer_host.install()`."""
    ctk = sys.modules["ctk"]
    ctk.ctkSliderWidget, ctk.ctkCollapsibleButton = Slider, Section
    slicer.qMRMLNodeComboBox = NodeBox
