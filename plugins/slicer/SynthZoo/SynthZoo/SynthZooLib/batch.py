"""A model over every study of the server's datastore, which skips what it has done before and goes on after a kill."""

from __future__ import annotations

from dataclasses import dataclass, field

from .client import ZooClient
from .errors import Busy, Cancelled, ZooError
from .pending import Pending, Progress

SECONDS_BETWEEN_LOOKS = 0.4
LOOKS_IN_VAIN = 8
RUNNING = ("SUBMITTED", "RUNNING")
MOST_TOLD = 3


@dataclass(frozen=True)
class Tally:
    """What a batch has done.

    Args:
        total, done, skipped: studies in all, made now, and made before.
        failed: study -> sentence.
    """

    total: int = 0
    done: int = 0
    skipped: int = 0
    failed: dict = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Studies that are behind it."""
        return self.done + self.skipped + len(self.failed)

    def text(self) -> str:
        """One line for the panel."""
        parts = [f"{self.done} of {self.total} studies done"]
        parts += [f"{self.skipped} done before"] if self.skipped else []
        parts += [f"{len(self.failed)} failed"] if self.failed else []
        return ", ".join(parts)

    def complaint(self) -> str:
        """What failed, in a sentence; "" if nothing did."""
        if not self.failed:
            return ""
        told = "; ".join(f"{study}: {text.rstrip('.')}" for study, text in list(self.failed.items())[:MOST_TOLD])
        more = f"; and {len(self.failed) - MOST_TOLD} more" if len(self.failed) > MOST_TOLD else ""
        return f"{len(self.failed)} of {self.total} studies failed: {told}{more}."


class BatchRun(Pending):
    """The batch of a server, of which it runs one at a time; the answer is a `Tally`.

    It is the server's: it goes on when Slicer is closed, and a server that was killed goes on with it when it starts
    again. One that runs with the same model is followed instead of begun.

    Args:
        client: the server.
        model: name of the model.
        options: checked values by name; None only follows what runs.
    """

    def __init__(self, client: ZooClient, model: str, options: dict | None = None):
        super().__init__(model, self._work)
        self.client, self.model, self.options = client, model, options

    def close(self) -> None:
        """Look no more; the server goes on."""
        self._end(Progress("done", "Not followed any more"))

    def _work(self) -> None:
        task = self._begin()
        failures, stopped = 0, False
        while task.get("status") in RUNNING and not self.finished:
            if not stopped and self._stop_requested.is_set():
                self.client.stop_batch()
                stopped = True
            self._finished.wait(SECONDS_BETWEEN_LOOKS)
            try:
                task = self._find(task)
                failures = 0
            except ZooError:
                failures += 1
                if failures >= LOOKS_IN_VAIN:
                    raise
            self._show(task)
        self._finish(task)

    def _begin(self) -> dict:
        if self.options is not None:
            try:
                return self.client.start_batch(self.model, self.options)
            except Busy:  # followed, if it is ours
                pass
        task = next(iter(self.client.batches()[-1:]), {})
        model = (task.get("request") or {}).get("model")
        if task.get("status") in RUNNING and model == self.model:
            return task
        if task.get("status") in RUNNING:
            raise ZooError(f"The server is at work on its studies with {model}: wait for it, or stop it there first.")
        raise ZooError(f"The server does not work on its studies with {self.model} any more: press the button again.")

    def _find(self, task: dict) -> dict:
        """The task as it is now; after a restart of the server the one that goes on with it."""
        found = self.client.batches()
        same = [other for other in found if other.get("id") == task.get("id")]
        heir = [other for other in found if (other.get("request") or {}).get("model") == self.model]
        if not same and not heir:
            raise ZooError("The server was started again and has no batch any more: press the button to go on.")
        return (same or heir)[-1]

    def _show(self, task: dict) -> None:
        if self._stop_requested.is_set():
            return
        tally = tally_of(task)
        line = next(iter(task.get("details", ())[-1:]), "")
        line = line or f"0 of {tally.total or 'the'} studies"
        fraction = tally.count / tally.total if tally.total else None
        self._progress = Progress("runs", f"{line}, {self.seconds:.0f} s", fraction)

    def _finish(self, task: dict) -> None:
        tally = tally_of(task)
        self.answer = tally
        if task.get("status") == "STOPPED":
            text = f"Stopped after {tally.count} of {tally.total} studies; the button goes on with the others."
            self._end(Progress("cancelled", text), Cancelled(text))
        elif task.get("status") == "ERROR":
            why = next(iter(task.get("details", ())[-1:]), "its log says why")
            raise ZooError(f"The server ended its work on the studies: {why}")
        self._end(Progress("done", f"{tally.text()}, {self.seconds:.0f} s", 1.0))


def tally_of(task: dict) -> Tally:
    """The numbers of the server's answer."""
    numbers = [int(task.get(key) or 0) for key in ("total", "done", "skipped")]
    return Tally(*numbers, dict(task.get("failed") or {}))
