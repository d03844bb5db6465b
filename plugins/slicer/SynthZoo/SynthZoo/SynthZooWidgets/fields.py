"""One field per option: sliders with units, choices, switches; a condition can stay unset."""

from __future__ import annotations

import ctk
import qt
from slicer.i18n import tr as _


class OptionField:
    """The field of an option: `widget` for the form, `value()` for the request.

    Args:
        option: `SynthZooLib.options.Option`.
    """

    def __init__(self, option):
        self.option = option
        self.widget = qt.QWidget()
        row = qt.QHBoxLayout(self.widget)
        row.setContentsMargins(0, 0, 0, 0)
        self.used = None
        if option.may_be_unset:
            self.used = qt.QCheckBox()
            self.used.toolTip = _("Request it; without the tick it is unset, and left to chance or to the model.")
            self.used.checked = option.default is not None
            self.used.connect("toggled(bool)", self._enable)
            row.addWidget(self.used)
        self.input = self._make()
        self.input.toolTip = option.help()
        row.addWidget(self.input, 1)
        self._show(option.start)
        self._enable()

    @property
    def label(self) -> str:
        """The text beside the field."""
        return f"{self.option.title}:"

    def _make(self):
        option = self.option
        if option.type == "boolean":
            return qt.QCheckBox()
        if option.examples:
            box = qt.QComboBox()
            box.editable = True
            for item in option.examples:
                box.addItem(item)
            return box
        if option.max_length is not None:
            line = qt.QLineEdit()
            line.maxLength = option.max_length
            return line
        if option.type == "string":
            box = qt.QComboBox()
            for item in option.enum:
                box.addItem(item)
            return box
        if not option.bounded:
            return qt.QLineEdit()
        slider = ctk.ctkSliderWidget()
        slider.decimals = option.decimals
        slider.minimum, slider.maximum = option.minimum, option.maximum
        slider.singleStep = option.step
        slider.pageStep = option.step * 10
        if option.unit:
            slider.suffix = f" {option.unit}"
        return slider

    def _enable(self, *_args) -> None:
        self.input.enabled = self.used is None or bool(self.used.checked)

    def value(self):
        """The checked value; None where the condition is unset.

        Raises:
            SynthZooLib.errors.ZooError: what was typed is refused.
        """
        if self.used is not None and not self.used.checked:
            return None
        if self.option.type == "boolean":
            return bool(self.input.checked)
        if self.option.examples:
            return self.option.check(self.input.currentText.strip())
        if self.option.max_length is not None:
            return self.option.check(self.input.text.strip())
        if self.option.type == "string":
            return self.option.check(self.input.currentText)
        if not self.option.bounded:
            text = self.input.text.strip()
            return self.option.check(text if text else None)
        return self.option.check(round(float(self.input.value), 6))

    def set_value(self, value) -> None:
        """Request a value; None unsets the condition."""
        if self.used is not None:
            self.used.checked = value is not None
        if value is not None:
            self._show(value)

    def _show(self, value) -> None:
        if self.option.type == "boolean":
            self.input.checked = bool(value)
        elif self.option.examples:
            self.input.setEditText(str(value))
        elif self.option.max_length is not None:
            self.input.text = str(value)
        elif self.option.type == "string":
            self.input.setCurrentIndex(self.input.findText(str(value)))
        elif self.option.bounded:
            self.input.value = float(value)
        else:
            self.input.text = str(value)
