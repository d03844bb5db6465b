"""The one handler for the end of a run: the texts of the whole set, its preview, and what was left out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from ignite.engine import Engine, Events

from synthzoo.cases.table import CaseTable
from synthzoo.errors import UserError
from synthzoo.io.files import write_text
from synthzoo.io.locks import locked
from synthzoo.results.case_files import read_case_set
from synthzoo.results.croissant import write_croissant
from synthzoo.results.dataset_files import gather_failures, remove_leftovers, write_dataset_files
from synthzoo.results.kinds import kind_of
from synthzoo.results.nnunet import DATASET_ID, write_nnunet

logger = logging.getLogger(__name__)


class FinalizeDataset:
    """Handler for the end of a run: participants.tsv, dataset_description.json, a preview, and what was left out.

    Under `torchrun` the last process to end does it for all. It also runs when nothing was left to do.

    Args:
        table: the table of the run.
        preview: number of cases in the preview; 0 for none.
        overlay: suffix of a second file of each case for the preview, such as a heat map or a second video, or None.
        name: `Name` in dataset_description.json; None takes the bundle's name.
        draw: (table, sidecars, overlay) -> None, writes the preview or another report of the set; None takes the
            preview of the kind of the table's suffix.
        dataset_id: number of nnU-Net's data set, which the BIDS layout gets where there are label maps.

    Raises:
        UserError: at the end, when inputs were left out because they could not be used.
    """

    served = False  # a server answers with results, not with texts and pictures of a data set

    def __init__(
        self,
        table: CaseTable,
        preview: int = 8,
        overlay: str | None = None,
        name: str | None = None,
        draw: Callable[[CaseTable, list[Path], str | None], None] | None = None,
        dataset_id: int = DATASET_ID,
    ) -> None:
        self.table, self.preview, self.overlay, self.name = table, int(preview), overlay, name
        self.dataset_id = int(dataset_id)
        self.draw = draw or kind_of(table.suffix).preview

    def attach(self, engine: Engine) -> None:
        """Run at the engine's end, or now when no row is left (MONAI then does not run the engine at all)."""
        if len(self.table) == 0:
            if self.table.skipped:
                print(f"all {self.table.skipped} results exist already in {self.table.output_dir}; nothing to do")
            self(engine)
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine | None = None) -> None:
        failures, problem = self.table.failures, None
        if self.table.output_dir is not None:
            with locked(self.table.output_dir):
                found = gather_failures(self.table)
                if found is None:
                    return
                failures = found
                remove_leftovers(self.table)
                try:
                    write_dataset_files(self.table, self.draw, self.preview, self.overlay, self.name)
                    if self.table.folder:
                        self._write_layouts()
                except Exception as error:  # what was left out is told all the same
                    if not failures:
                        raise
                    problem = error
                    logger.exception(f"the texts or the preview of {self.table.output_dir} are not complete")
        if failures:
            more = f" (and {len(failures) - 1} more, named above)" if len(failures) > 1 else ""
            count = len(failures)
            if count == len(self.table.cases):
                said = f"none of the {count} inputs could be used; the first: {failures[0]}"
            else:
                said = f"{count} inputs could not be used, the others are done: {failures[0]}{more}"
            raise UserError(said) from problem

    def _write_layouts(self) -> None:
        """Describe a BIDS data set for those that train: names of label values, nnU-Net's layout, Croissant."""
        found = read_case_set(self.table)
        if not found.cases:
            return
        if found.names and self.table.derivatives.is_dir():
            lines = ["index\tname", *(f"{value}\t{name}" for value, name in found.names.items())]
            write_text(self.table.derivatives / "dseg.tsv", "\n".join(lines) + "\n")
        nnunet = write_nnunet(self.table, found, self.dataset_id, self.name)
        write_croissant(self.table, found, nnunet, self.name)
