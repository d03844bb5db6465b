"""Tasks with results that wait for one another, taken by as many processes as there are; a killed one is taken again.

A task is done when `<folder>/<name>.json` is there. Who works on one holds a lock on `<name>.lock`, which the system
takes back when the process ends, however it ends.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthzoo.errors import UserError
from synthzoo.io.files import write_json
from synthzoo.io.locks import claimed

WAIT_S = 5.0


@dataclass(frozen=True)
class Task:
    """One piece of work.

    Attributes:
        name: of its result.
        run: gives the result, what JSON can hold.
        needs: names of the tasks that come before.
    """

    name: str
    run: Callable[[], dict[str, Any]]
    needs: tuple[str, ...] = ()


def work_off(tasks: Sequence[Task], folder: Path, wait: float = WAIT_S, tell: Callable[[str], None] = print) -> None:
    """Do all tasks that no other process does, and wait for those that others do.

    Args:
        tasks: in the order in which they are preferred.
        folder: of results and locks.
        wait: seconds between looks at what others do.
        tell: takes a line for each task that is done.

    Raises:
        UserError: a task needs one that there is not.
    """
    names = {task.name for task in tasks}
    for task in tasks:
        absent = [name for name in task.needs if name not in names]
        if absent:
            raise UserError(f"comparison: {task.name} needs {absent[0]}, which the comparison does not hold; add it.")
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        left = [task for task in tasks if not is_done(folder, task.name)]
        if not left:
            return
        if not any(_taken(task, folder, tell) for task in left):
            time.sleep(wait)


def _taken(task: Task, folder: Path, tell: Callable[[str], None]) -> bool:
    """Whether a task could be done now and was."""
    if not all(is_done(folder, name) for name in task.needs):
        return False
    with claimed(folder / f"{task.name}.lock") as mine:
        if not mine or is_done(folder, task.name):
            return False
        start = time.process_time()
        result = task.run()
        seconds = round(time.process_time() - start, 1)
        write_json(folder / f"{task.name}.json", {**result, "seconds": seconds})
        tell(f"{task.name}: {seconds:.0f} s")
    return True


def is_done(folder: Path, name: str) -> bool:
    """Whether a task has its result."""
    return (folder / f"{name}.json").is_file()


def result_of(folder: Path, name: str) -> dict[str, Any]:
    """The result of a task that is done."""
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


def results_of(folder: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The results of those of these tasks that are done."""
    return {name: result_of(folder, name) for name in names if is_done(folder, name)}
