"""Hand-over to a program that runs a bundle's transforms on its own samples and writes the result itself.

MONAI Label's stock `monaibundle` app is such a program: it takes preprocessing, network, inferer and postprocessing out
of inference.json, puts its request's fields into the sample, and writes `pred`. What it finds under `result` it sends
to the client. Slicer's stock module asks it for `result_dtype` uint8 and shows the value 1 as a segment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.transforms import Transform

from synthzoo.cases.table import is_label
from synthzoo.errors import UserError


def external_host(data: Mapping, outputs: Mapping[str, str], reported: Sequence[str] = ()) -> dict[str, Any]:
    """The sample as its own program can write it; nothing is written here.

    Args:
        data: a sample after all other transforms.
        outputs: key -> suffix, as `SaveResult` has them; the first key is the main result.
        reported: keys of small values (scores, regions), which go to the client under `result`.

    Returns:
        the sample; where bytes are requested and a label map was made besides the main result, the main result is 1
        in the label map's regions and 0 elsewhere, uint8: a float map in bytes would be empty.
    """
    data = dict(data)
    data["result"] = {**(data.get("result") or {}), **{key: data[key] for key in reported if key in data}}
    main, *others = outputs
    labels = [key for key in others if is_label(outputs[key]) and key in data]
    if str(data.get("result_dtype")) == "uint8" and labels and not is_label(outputs[main]):
        data[main] = (data[labels[0]] > 0).to(torch.uint8)
    return data


class RejectImages(Transform):
    """Preprocessing of a generator, for programs that bring an image: one sentence instead of a failure inside.

    Args:
        name: the bundle's.

    Raises:
        UserError: always; the requests of a generator pass through no preprocessing.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, data: Any) -> Any:
        raise UserError(
            f"{self.name} makes images from requests and takes none: serve it with the app in plugins/monailabel, "
            "or leave it out of --conf models."
        )
