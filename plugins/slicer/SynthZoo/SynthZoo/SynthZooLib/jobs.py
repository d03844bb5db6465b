"""One request on its way, in a thread, so that the panel stays alive: progress, cancel, and the answer in the end."""

from __future__ import annotations

import shutil
import tempfile
import time
import uuid

from .answer import unpack
from .client import ZooClient
from .errors import Cancelled, NotFound, ZooError
from .pending import Pending, Progress

SECONDS_BETWEEN_LOOKS = 0.4
LOOKS_IN_VAIN = 8
SECONDS_TO_STOP = 15


class Run(Pending):
    """A request; the answer is an `answer.Answer`.

    Args:
        client: the server.
        model: name of the model.
        options: checked values by name.
        image: id of an image of the datastore.
        upload: path of an image file to send instead.
        temporary: folder to work in; None is the system's.
    """

    def __init__(
        self,
        client: ZooClient,
        model: str,
        options: dict,
        image: str = "",
        upload: str = "",
        temporary: str | None = None,
    ):
        super().__init__(model, self._work, self._look)
        self.client, self.model, self.image, self.upload = client, model, image, upload
        self.job = f"slicer-{uuid.uuid4().hex[:12]}"
        self.options = {**options, "job": self.job}
        self.folder = tempfile.mkdtemp(prefix="synthzoo_", dir=temporary)

    def close(self) -> None:
        """Remove the files of the answer; nodes that were made of them stay."""
        self.cancel()
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- the thread that asks ------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            path = self.client.run(self.model, self.options, self.folder, self.image, self.upload, self._watch)
            self.answer = unpack(path, self.folder)
        except Cancelled:
            raise
        except ZooError:
            if not self._stop_requested.is_set():
                raise
            raise Cancelled(f"{self.model}: the request was cancelled.") from None
        self._end(Progress("done", f"Done in {self.seconds:.1f} s", 1.0))

    def _watch(self, phase: str, done: int, total: int) -> None:
        if self._stop_requested.is_set():
            raise Cancelled(f"{self.model}: the request was cancelled.")
        word = "Sending the scan" if phase == "sends" else "Receiving"
        fraction = done / total if total else None
        size = f"{done / 1e6:.1f} of {total / 1e6:.1f} MB" if total else f"{done / 1e6:.1f} MB"
        self._progress = Progress(phase, f"{word}: {size}", fraction)
        if phase == "sends" and done >= total:
            self._progress = Progress("waits", "Waiting for the server")

    # --- the thread that looks -----------------------------------------------------------------------------------

    def _look(self) -> None:
        """Follow the job on the server, pass a cancel on, and notice when the server is gone."""
        failures, stop_by = 0, None
        while not self._finished.wait(SECONDS_BETWEEN_LOOKS):
            try:
                if self._stop_requested.is_set():
                    stop_by = stop_by or time.monotonic() + SECONDS_TO_STOP
                    self._pass_cancel_on()
                elif self._progress.phase in ("waits", "runs"):
                    self._take(next((job for job in self.client.jobs() if job.get("id") == self.job), None))
                failures = 0
            except ZooError as error:
                failures += 1
                if failures >= LOOKS_IN_VAIN:
                    self._end(Progress("failed", str(error)), error)
            if stop_by is not None and time.monotonic() > stop_by:
                cancelled = Cancelled(f"{self.model}: cancelled here; the server has not yet stopped.")
                self._end(Progress("cancelled", str(cancelled)), cancelled)

    def _pass_cancel_on(self) -> None:
        try:
            self.client.cancel(self.job)
        except NotFound:
            return  # still on its way to the server: the next look tries again

    def _take(self, job: dict | None) -> None:
        if job is None or self._progress.phase not in ("waits", "runs"):
            return
        state, calls = job.get("state"), int(job.get("calls") or 0)
        done, total = int(job.get("done") or 0), int(job.get("total") or 0)
        seconds = f"{self.seconds:.0f} s"
        if state == "queued":
            self._progress = Progress("waits", f"In the server's queue, {seconds}")
        elif state == "running":
            many = f"{done} of {total} done, " if total > 1 else ""
            text = f"Running: {many}{calls} network calls, {seconds}" if calls else f"Running: {many}{seconds}"
            self._progress = Progress("runs", text, done / total if total > 1 else None)
