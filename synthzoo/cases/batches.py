"""Loader and evaluator of a table's cases: what cannot be done is named and left out, and the others are done.

A case may fail where it is read, in the preprocessing, in the network, in the postprocessing or where it is saved. Its
sentence goes to `CaseTable.failures`; `synthzoo.results.finalize.FinalizeDataset` ends the run with exit code 1 when
everything else is done. What concerns every case, such as a full disk, still ends the run at once.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from monai.data import DataLoader, decollate_batch, list_data_collate
from monai.engines import SupervisedEvaluator
from torch.utils.data import Dataset, get_worker_info

from synthzoo.cases.failures import Failure, causes_of, failure_of
from synthzoo.cases.table import CaseTable
from synthzoo.errors import EndRun, UserError

logger = logging.getLogger(__name__)


def table_of(dataset: Any) -> CaseTable:
    """The table under a data set: itself, or what MONAI's `Dataset` transforms.

    Raises:
        UserError: there is none.
    """
    while not isinstance(dataset, CaseTable):
        if not hasattr(dataset, "data"):
            raise UserError("dataset holds no table of cases: give a RequestTable, or a Dataset over an ImageTable.")
        dataset = dataset.data
    return dataset


class _Guarded(Dataset):
    """A data set of cases whose item is a sample, or the `Failure` of one that cannot be read."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset, self.table = dataset, table_of(dataset)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        try:
            return self.dataset[index]
        except Exception as error:
            row = self.table.rows[index]
            if get_worker_info() is None and self.table.ends_run(error):
                self.table.leave_out(row, error)  # raises it
            return failure_of(error, row, self.table.named(row), self.table.names(row))


def collate(items: Sequence[Any]) -> Any:
    """A batch as `list_data_collate` makes it; the list of items where one has failed or shapes differ."""
    if any(isinstance(item, Failure) for item in items):
        return list(items)
    try:
        return list_data_collate(items)
    except (RuntimeError, TypeError, ValueError):
        if len(items) == 1:
            raise
        return list(items)  # the evaluator takes them one at a time


class CaseLoader(DataLoader):
    """MONAI's DataLoader over a table's cases, which goes on after one that cannot be read.

    A batch is the usual mapping; where a case of it has failed, the list of the others and its `Failure`.

    Args:
        dataset: a `CaseTable`, or MONAI's `Dataset` over one.
        num_workers, kwargs: see `monai.data.DataLoader`.
    """

    def __init__(self, dataset: Dataset, num_workers: int = 0, **kwargs: Any) -> None:
        super().__init__(_Guarded(dataset), num_workers=num_workers, collate_fn=collate, **kwargs)


class CaseEvaluator(SupervisedEvaluator):
    """MONAI's SupervisedEvaluator over the cases of a `CaseLoader`, which goes on after one that fails.

    A batch of several that fails is run again one case at a time, so that its good cases are kept.

    Args:
        device: of the network.
        val_data_loader: a `CaseLoader`.
        network, kwargs: see `SupervisedEvaluator`.
    """

    def __init__(self, device: Any, val_data_loader: DataLoader, network: torch.nn.Module, **kwargs: Any) -> None:
        super().__init__(device=device, val_data_loader=val_data_loader, network=network, **kwargs)
        held = val_data_loader.dataset
        self.table = held.table if isinstance(held, _Guarded) else table_of(held)

    def _iteration(self, engine: Any, batchdata: Any) -> Any:
        samples = batchdata
        if not isinstance(batchdata, list):
            count = len(batchdata["row"])
            if self._attempt(engine, batchdata, count):
                return engine.state.output
            samples = decollate_batch(batchdata) if count > 1 else []
        batches, outputs = [], []
        for sample in samples:
            if isinstance(sample, Failure):
                self.table.note(sample)
            elif self._attempt(engine, list_data_collate([sample]), 1):
                batches += engine.state.batch
                outputs += engine.state.output
        engine.state.batch, engine.state.output = batches, outputs
        return outputs

    def _attempt(self, engine: Any, batch: Any, count: int) -> bool:
        """Run a batch of `count` cases; False where it failed, and a single case is left out then."""
        engine.state.batch = batch
        try:
            super()._iteration(engine, batch)
            return True
        except Exception as error:
            causes = list(causes_of(error))
            if count == 1:
                self.table.leave_out(int(batch["row"][0]), error)
            elif any(isinstance(cause, EndRun) for cause in causes):
                raise
            else:
                logger.warning(f"a batch of {count} cases failed ({causes[-1]}); they are run one at a time")
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()  # of what the failed case held
        return False
