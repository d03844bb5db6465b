"""Evaluation of the ensemble's map, beside single tasks and their ensemble, on lesions that no task imitates,
and of the brain extraction in front of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from synthzoo.datasets.brain.heads import RandomHeads
from synthzoo.evaluation.anomaly_maps import AnomalyMapEvaluation
from synthzoo.evaluation.base import Found
from synthzoo.evaluation.brain_extraction import measure_extraction
from synthzoo.networks.weights import load_weights
from synthzoo.systems.many_tasks.network import TASKS, ManyTasksEnsemble

SINGLE = "ensemble of single tasks"
FURTHER = 5000  # subjects of the heads begin so far behind the first test subject


class AnomalyEvaluation(AnomalyMapEvaluation):
    """Scores of the ensemble, of single tasks and of baselines per contrast, and a picture.

    Args:
        network: trained `AnomalyMapNetwork`.
        single_tasks: weights of an ensemble of single-task members, or None to do without them.
        single_network: that ensemble, untrained; its members are built as the network's.
        heads: phantom heads in which the brain is sought; 0 leaves that out.
        shared: see `AnomalyMapEvaluation`.
    """

    PARTS = (*AnomalyMapEvaluation.PARTS, "extraction")
    SHIPPED, RAW, TITLE = "ensemble (shipped)", "ensemble, not calibrated", "the ensemble"

    def __init__(
        self,
        network: torch.nn.Module,
        single_tasks: str | None = None,
        single_network: ManyTasksEnsemble | None = None,
        heads: int = 24,
        **shared: Any,
    ) -> None:
        super().__init__(network, settings={"single_tasks": single_tasks is not None, "heads": heads}, **shared)
        self.heads = int(heads)
        self.single = load_weights(single_network, single_tasks, self.device) if single_tasks else None

    def network_maps(self, volume: torch.Tensor) -> dict[str, np.ndarray]:
        """The ensemble's map and, where they are given, those of single tasks and of their ensemble."""
        maps = {self.RAW: self.raw_map(volume)}
        if self.single is not None:
            members = self.single.member_maps(volume)[:, 0, 0].cpu().numpy()
            maps |= {f"single task: {task}": heat for task, heat in zip(TASKS, members)}
            maps[SINGLE] = members.mean(0)
        return maps

    def raw_map(self, volume: torch.Tensor) -> np.ndarray:
        """The ensemble's map."""
        return self.network(volume)[0, 0].cpu().numpy()

    def drawn(self) -> list[str]:
        """The ensemble of single tasks, too."""
        shipped, *others = super().drawn()
        return [shipped, *([SINGLE] if self.single is not None else []), *others]

    def more_figures(self, name: str, ap: Mapping[str, float]) -> dict[str, float]:
        """The mean single task."""
        tasks = [value for key, value in ap.items() if key.startswith("single task")]
        return {f"{name}_single_task_ap": round(float(np.mean(tasks)), 4)} if tasks else {}

    def extraction(self) -> Found:
        """Brain extraction in heads of further test subjects, beside atlas masks."""
        if not self.heads:
            return Found()
        rows = RandomHeads(self.heads, max(self.heads // 4, 1), self.first_seed + FURTHER)
        return measure_extraction(self.network.extractor, rows, self.device)
