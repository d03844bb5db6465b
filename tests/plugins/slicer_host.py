"""Enough of 3D Slicer around real MRML for a scripted module's own widget to run without a screen.

Real: the scene, volumes, segmentations, labelmap import (slicer-core), and Qt widgets (PySide6, offscreen). Made here:
the way PythonQt spells Qt (`box.currentText`, `button.connect("clicked(bool)", f)`), empty ctk and qMRML widgets, and
the parts of `slicer` that only the application has. `install()` before the module is imported.
"""

from __future__ import annotations

import os
import sys
import tempfile
import types

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkOSOpenGLRenderWindow")
os.environ.setdefault("LP_NUM_THREADS", "1")  # the software renderer else waits for cores that others use

import numpy as np
import slicer
import slicer.util
import vtk
from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets
from trame_slicer.core import SlicerApp

settings: dict[str, object] = {}
messages: list[tuple[str, str, str]] = []


class Nothing:
    """Takes any call of the application's windows and does nothing."""

    def __init__(self, *args, **kwargs):
        pass

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing()

    def __call__(self, *args, **kwargs):
        return Nothing()

    def __bool__(self):
        return False

    def _same(self, other=None):
        return self

    __or__ = __and__ = __invert__ = _same


# --- Qt as PythonQt spells it ----------------------------------------------------------------------------------------

VIRTUAL = ("sizeHint", "minimumSizeHint")  # properties of these names would call themselves
GETTERS = ("count", "checked", "currentIndex", "currentText", "rowCount")
known: dict[type, type] = {}


def connect(self, signal: str, slot, *_):
    getattr(self, signal.lstrip("2").split("(")[0]).connect(slot)
    return True


def python_qt(cls: type) -> type:
    """A Qt class with its properties as attributes and with `connect`."""
    if cls in known:
        return known[cls]
    body: dict[str, object] = {"connect": connect}
    meta = cls.staticMetaObject
    for number in range(meta.propertyCount()):
        name = meta.property(number).name()
        if name not in VIRTUAL:
            body[name] = property(
                lambda self, name=name: QtCore.QObject.property(self, name),
                lambda self, value, name=name: QtCore.QObject.setProperty(self, name, value),
            )
    for name in GETTERS:
        if name not in body and hasattr(cls, name):
            body[name] = property(lambda self, name=name: getattr(cls, name)(self))
    for name in ("setEnabled", "setVisible", "setChecked"):
        if hasattr(cls, name):
            body[name] = lambda self, value, name=name: getattr(cls, name)(self, bool(value))
    if cls is QtWidgets.QProgressBar:
        body["setValue"] = lambda self, value: cls.setValue(self, int(value))
    known[cls] = type(cls.__name__, (cls,), body)
    return known[cls]


def empty_widget(name: str, base: type = QtWidgets.QWidget, signals=(), **values) -> type:
    """A widget of Slicer or CTK that keeps a few values and passes over every other call."""
    body: dict[str, object] = {signal: QtCore.Signal(object) for signal in signals}
    for key, value in values.items():
        body[key] = property(
            lambda self, key=key, value=value: self.__dict__.get(f"_{key}", value),
            lambda self, new, key=key: self.__dict__.__setitem__(f"_{key}", new),
        )

    def missing(self, key):
        if key.startswith("_"):
            raise AttributeError(key)
        return lambda *args, **kwargs: Nothing()

    made = type(name, (python_qt(base),), {**body, "__getattr__": missing})
    made.connect = connect
    return made


def make_qt() -> tuple[types.ModuleType, types.ModuleType, dict[str, type]]:
    """The modules `qt` and `ctk`, and the classes that a .ui file may name besides Qt's own."""
    qt, ctk = types.ModuleType("qt"), types.ModuleType("ctk")
    for module in (QtCore, QtGui, QtWidgets):
        for name in dir(module):
            if name.startswith("Q"):
                setattr(qt, name, getattr(module, name))
    for name in dir(QtWidgets):
        found = getattr(QtWidgets, name)
        if isinstance(found, type) and issubclass(found, QtWidgets.QWidget):
            setattr(qt, name, python_qt(found))
    qt.QTimer, qt.SIGNAL, qt.QSettings = python_qt(QtCore.QTimer), lambda text: "2" + text, Settings
    qt.QTimer.singleShot = staticmethod(QtCore.QTimer.singleShot)  # not the property of that name
    custom = {
        "ctkCollapsibleButton": empty_widget("ctkCollapsibleButton", collapsed=False),
        "ctkCollapsibleGroupBox": empty_widget("ctkCollapsibleGroupBox", QtWidgets.QGroupBox, collapsed=False),
        "ctkComboBox": empty_widget("ctkComboBox", QtWidgets.QComboBox),
        "ctkPathLineEdit": empty_widget("ctkPathLineEdit", currentPath=""),
        "ctkSliderWidget": empty_widget("ctkSliderWidget", signals=("valueChanged",), value=0.0),
        "ctkSettingsPanel": empty_widget("ctkSettingsPanel"),
        "qMRMLWidget": empty_widget("qMRMLWidget"),
        "qMRMLSegmentEditorWidget": empty_widget("qMRMLSegmentEditorWidget"),
        "qSlicerMarkupsPlaceWidget": empty_widget("qSlicerMarkupsPlaceWidget", placeModeEnabled=False),
        "qSlicerWidget": empty_widget("qSlicerWidget"),
        "qMRMLNodeComboBox": empty_widget("qMRMLNodeComboBox", signals=("currentNodeChanged",)),
    }
    for name, widget in custom.items():
        setattr(ctk, name, widget)
    ctk.ctkBooleanMapper = Nothing
    return qt, ctk, custom


class Settings:
    """QSettings over a dictionary."""

    def value(self, key, default=None):
        return settings.get(key, default)

    def setValue(self, key, value):
        settings[key] = value

    def contains(self, key):
        return key in settings


# --- the application -------------------------------------------------------------------------------------------------


class Application:
    """`slicer.app`, as far as a module's widget asks."""

    temporaryPath, applicationName = tempfile.gettempdir(), "Slicer"

    def __init__(self, host: SlicerApp):
        self.host = host

    def applicationLogic(self):
        return self.host.app_logic

    def testingEnabled(self):
        return True

    def commandOptions(self):
        return types.SimpleNamespace(noMainWindow=True)

    def processEvents(self):
        QtWidgets.QApplication.processEvents()

    def connect(self, *_):
        pass

    def layoutManager(self):
        return Nothing()

    def userSettings(self):
        return Settings()

    settings = userSettings


def scripted_modules(scene, custom: dict[str, type], resources: str) -> types.ModuleType:
    """`slicer.ScriptedLoadableModule` with its four base classes."""
    module = types.ModuleType("slicer.ScriptedLoadableModule")

    class ScriptedLoadableModule:
        def __init__(self, parent):
            self.parent = parent

    class ScriptedLoadableModuleWidget:
        def __init__(self, parent=None):
            self.parent = python_qt(QtWidgets.QWidget)()
            self.parent.isEntered = True
            self.layout = QtWidgets.QVBoxLayout(self.parent)

        def setup(self):
            pass

        def resourcePath(self, name):
            return os.path.join(resources, name)

    class ScriptedLoadableModuleLogic:
        def __init__(self, parent=None):
            self.moduleName = type(self).__name__.replace("Logic", "")

        def getParameterNode(self):
            node = scene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
            if node is None:
                node = slicer.vtkMRMLScriptedModuleNode()
                node.SetSingletonTag(self.moduleName)
                node.SetModuleName(self.moduleName)
                node = scene.AddNode(node)
            return node

    class ScriptedLoadableModuleTest:
        pass

    names = ("", "Widget", "Logic", "Test")
    module.__all__ = [f"ScriptedLoadableModule{name}" for name in names]
    made = (
        ScriptedLoadableModule,
        ScriptedLoadableModuleWidget,
        ScriptedLoadableModuleLogic,
        ScriptedLoadableModuleTest,
    )
    for cls in made:
        setattr(module, cls.__name__, cls)
    return module


def push_volume(scene):
    """`sitkUtils.PushVolumeToSlicer`: a SimpleITK image as a node, from LPS to RAS."""

    def push(image, targetNode=None, name=None, className="vtkMRMLScalarVolumeNode"):
        import SimpleITK as sitk

        node = scene.AddNewNodeByClass(className)
        affine = np.eye(4)
        affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) @ np.diag(image.GetSpacing())
        affine[:3, 3] = image.GetOrigin()
        affine = np.diag([-1, -1, 1, 1]) @ affine
        matrix = vtk.vtkMatrix4x4()
        for i in range(4):
            for j in range(4):
                matrix.SetElement(i, j, affine[i, j])
        node.SetIJKToRASMatrix(matrix)
        slicer.util.updateVolumeFromArray(node, sitk.GetArrayFromImage(image))
        node.CreateDefaultDisplayNodes()
        return node

    return push


def install(resources: str) -> SlicerApp:
    """Make `import slicer`, `qt`, `ctk`, `sitkUtils` ... give what a scripted module expects; gives the host."""
    application = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["slicer"])
    host = SlicerApp()
    host.qt_application = application
    scene = host.scene
    qt, ctk, custom = make_qt()

    class Loader(QtUiTools.QUiLoader):
        def createWidget(self, cls, parent=None, name=""):
            widget = (custom.get(cls) or getattr(qt, cls))(parent)
            widget.setObjectName(name)
            return widget

    def children(widget):
        found = types.SimpleNamespace()
        for child in widget.findChildren(QtCore.QObject):
            name = QtCore.QObject.objectName(child)
            if name:
                setattr(found, name, child)
        return found

    def save_node(node, path, properties=None):
        segments = node.IsA("vtkMRMLSegmentationNode")
        storage = slicer.vtkMRMLSegmentationStorageNode() if segments else slicer.vtkMRMLVolumeArchetypeStorageNode()
        storage.SetFileName(path)
        storage.SetScene(scene)
        return bool(storage.WriteData(node))

    slicer.mrmlScene, slicer.app = scene, Application(host)
    names = {
        "volumes": "Volumes",
        "segmentations": "Segmentations",
        "colors": "Colors",
        "subjecthierarchy": "SubjectHierarchy",
    }
    logics = {key: host.app_logic.GetModuleLogic(name) for key, name in names.items()}
    slicer.modules = types.SimpleNamespace(
        **{key: types.SimpleNamespace(logic=lambda logic=logic: logic) for key, logic in logics.items()}
    )
    util = slicer.util
    for kind in ("errorDisplay", "warningDisplay", "infoDisplay"):
        setattr(
            util,
            kind,
            lambda text, *_, kind=kind, **more: messages.append((kind, text, more.get("detailedText", ""))),
        )
    util.confirmOkCancelDisplay = lambda *args, **kwargs: True
    util.settingsValue = lambda key, default, converter=lambda value: value, **_: converter(settings.get(key, default))
    util.tempDirectory = lambda key="slicer", *_, **__: tempfile.mkdtemp(prefix=key)
    util.createProgressDialog = lambda *args, **kwargs: Nothing()
    util.loadVolume = lambda path, properties=None, **_: host.io_manager.load_volumes(path)[0]
    util.saveNode, util.loadUI = save_node, lambda path: Loader().load(path)
    util.childWidgetVariables = children
    translation = types.ModuleType("slicer.i18n")
    translation.tr, translation.translate = (lambda text: text), (lambda context, text: text)
    sitk_utils = types.ModuleType("sitkUtils")
    sitk_utils.PushVolumeToSlicer = push_volume(scene)
    import slicer_core.vtkSegmentationCore as segmentation_core

    modules = {
        "qt": qt,
        "ctk": ctk,
        "sitkUtils": sitk_utils,
        "slicer.i18n": translation,
        "slicer.ScriptedLoadableModule": scripted_modules(scene, custom, resources),
        "vtkSegmentationCore": segmentation_core,
        "DICOMScalarVolumePlugin": types.ModuleType("DICOMScalarVolumePlugin"),
        "SampleData": types.ModuleType("SampleData"),
    }
    sys.modules.update(modules)
    slicer.i18n, slicer.ScriptedLoadableModule = translation, modules["slicer.ScriptedLoadableModule"]
    return host
