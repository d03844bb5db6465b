"""A PNG of one case: the scan with its heat map over it, cut through the map's peak."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import torch
from monai.transforms import Transform

from synthzoo.cases.table import CaseTable
from synthzoo.io.files import text_of
from synthzoo.results.dataset_files import mark_of_row
from synthzoo.results.preview import montage


class SaveHeatPreview(Transform):
    """Write `<case>_heatmap.png`; use before the map leaves the head grid.

    Args:
        table: the run's table.
        image_key: scan on the head grid (1, D, H, W).
        heat_key: map on the same grid, in [0, 1].
        threshold: heat below it stays transparent; beside it the same planes are shown without heat.

    A sample that is of no table has no case and gets no picture.
    """

    served = False  # a server answers with results, not with pictures of them

    def __init__(
        self, table: CaseTable, image_key: Hashable = "image", heat_key: Hashable = "pred", threshold: float = 0.15
    ) -> None:
        self.table, self.image_key, self.heat_key, self.threshold = table, image_key, heat_key, float(threshold)

    def __call__(self, data: dict) -> dict:
        if self.table.output_dir is not None and "case" in data:
            image = np.asarray(torch.as_tensor(data[self.image_key]).cpu(), np.float32)[0]
            heat = np.asarray(torch.as_tensor(data[self.heat_key]).cpu(), np.float32)[0]
            case = str(data["case"])
            titles = [f"{text_of(case)}: anomaly map, peak {heat.max():.2f}", f"{text_of(case)}: the scan"]
            # The second panel's map is the same one faded below its threshold, so that both are cut at one place.
            faint = heat * (0.99 * self.threshold / max(float(heat.max()), 1e-6))
            path = self.table.path(case, "heatmap.png")
            mark = mark_of_row(self.table, int(data["row"]), synthetic=False)
            montage([image, image], titles, path, overlays=[heat, faint], threshold=self.threshold, mark=mark)
        return data
