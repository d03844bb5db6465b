"""The infer task of a bundle: what a client sees of it. The work is the service's."""

from __future__ import annotations

from typing import Any

from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from lib.requests import extra_options
from lib.service import Service
from synthzoo.bundle.outputs import describe_outputs, kinds_shown_as, kinds_stored_as
from synthzoo.serving.options import Option
from synthzoo.serving.served import ServedBundle
from synthzoo.transforms.heat_bands import band_names


class BundleInfer(InferTask):
    """A bundle as a model of MONAI Label.

    The type is segmentation where the stock Slicer module can show the answer (maps of an image, as bands or labels),
    else others, which that module does not offer.

    Args:
        service: runs the requests.
        bundle: what is served.
    """

    def __init__(self, service: Service, bundle: ServedBundle):
        self.service, self.bundle = service, bundle
        kept = {place: kinds_stored_as(place, bundle.of_images) for place in ("study", "label")}
        maps = bundle.takes_images and bool(kept["label"]) and not kept["study"]
        named = [bundle.outputs[kind].get("names", {}) for kind in kinds_shown_as("labels", bundle.outputs)]
        labels = band_names() if kinds_shown_as("overlay", bundle.outputs) else next(iter(named), {})
        shape = bundle.metadata["network_data_format"]["outputs"]["pred"]["spatial_shape"]
        super().__init__(
            type=InferType.SEGMENTATION if maps else InferType.OTHERS,
            labels=labels,
            dimension=3 if len(shape) > 2 else 2,
            description=bundle.metadata["description"],
            config={},
        )

    def is_valid(self) -> bool:
        """Always: the bundle's folder was found when the server started."""
        return True

    def get_path(self, validate: bool = True) -> str | None:
        """The file of the newest weights."""
        path = self.bundle.weights()
        return str(path) if path.is_file() or not validate else None

    def config(self) -> dict[str, Any]:
        """Options as the stock panel shows them: a list is a menu, everything else a field."""
        extras = extra_options(self.bundle)
        panel = {name: panel_value(option) for name, option in self.bundle.options.items()}
        if self.bundle.takes_images:
            panel["result"] = list(extras["result"].enum)
        if self.bundle.takes_labels or self.bundle.mark:
            panel["source_tag"] = ""
        if len(extras["model_version"].enum) > 1:
            panel["model_version"] = list(extras["model_version"].enum)
        return panel

    def info(self) -> dict[str, Any]:
        """The stock description, and under `synthzoo` what a client needs to build a panel of its own."""
        bundle = self.bundle
        extras = extra_options(bundle)
        options = bundle.options | {name: extras.pop(name) for name in ("source_tag",) if name in extras}
        return super().info() | {
            "synthzoo": {
                "task": bundle.task,
                "title": bundle.metadata.get("name", bundle.name),
                "version": bundle.metadata["version"],
                "takes_images": bundle.takes_images,
                "needs_images": bundle.needs_images,
                "takes_labels": bundle.takes_labels,
                "takes_mark": bundle.mark is not None,
                "modality": bundle.modality,
                "outputs": describe_outputs(bundle.outputs),
                "options": {name: option.describe() for name, option in options.items()},
                "extras": {name: option.describe() for name, option in extras.items()},
                "intended_use": bundle.metadata.get("intended_use", ""),
            }
        }

    def __call__(self, request):
        """(file, params) of one request, for callers that go past the app."""
        found = self.service.infer(request)
        return found["file"], found["params"]


def panel_value(option: Option) -> Any:
    """An option's field in the stock panel: its default, or its enum with the default first."""
    if option.enum:
        others = [item for item in option.enum if item != option.default]
        return ["" if option.default is None else option.default, *others]
    return "" if option.default is None else option.default
