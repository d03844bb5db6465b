"""One request on its way, in a thread, so that the panel stays alive: progress, cancel, and the answer in the end."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
import uuid
from dataclasses import dataclass

from .answer import Answer, unpack
from .client import ZooClient
from .errors import Cancelled, NotFound, ZooError

SECONDS_BETWEEN_LOOKS = 0.4
LOOKS_IN_VAIN = 8
SECONDS_TO_STOP = 15


@dataclass(frozen=True)
class Progress:
    """How far a request is.

    Args:
        phase: "sends", "waits", "runs", "receives", "done", "failed" or "cancelled".
        text: for people.
        fraction: 0 to 1, or None where nobody knows.
    """

    phase: str
    text: str
    fraction: float | None = None


class Run:
    """A request that runs in a thread of its own; the main thread looks at it from time to time.

    Python's threads only run while Slicer's main thread lets them: call `tick()` from a timer, which waits a moment.

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
        self.client, self.model, self.image, self.upload = client, model, image, upload
        self.job = f"slicer-{uuid.uuid4().hex[:12]}"
        self.options = {**options, "job": self.job}
        self.folder = tempfile.mkdtemp(prefix="synthzoo_", dir=temporary)
        self.answer: Answer | None = None
        self.error: ZooError | None = None
        self.began = time.monotonic()
        self._progress = Progress("waits", "Connecting")
        self._finished, self._asked_to_stop = threading.Event(), threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._work, self._look)]

    def start(self) -> Run:
        """Send the request."""
        for thread in self._threads:
            thread.start()
        return self

    def tick(self, seconds: float = 0.02) -> Progress:
        """Let the threads run for a moment, and say how far the request is."""
        self._finished.wait(seconds)
        return self._progress

    @property
    def finished(self) -> bool:
        """Whether there is an answer or an error."""
        return self._finished.is_set()

    def cancel(self) -> None:
        """Take the request back; `finished` follows within seconds."""
        self._asked_to_stop.set()
        if not self.finished:
            self._progress = Progress("waits", "Cancelling")

    def wait(self, seconds: float | None = None) -> Answer:
        """The answer, for scripts.

        Raises:
            ZooError: what went wrong; `Cancelled` if it was taken back.
        """
        if not self._finished.wait(seconds):
            raise ZooError(f"{self.model} has not answered within {seconds:g} s.")
        if self.error is not None:
            raise self.error
        return self.answer  # type: ignore[return-value]

    def close(self) -> None:
        """Remove the files of the answer; nodes that were made of them stay."""
        self.cancel()
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- the thread that asks ------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            path = self.client.run(self.model, self.options, self.folder, self.image, self.upload, self._watch)
            self.answer = unpack(path, self.folder)
            self._end(Progress("done", f"Done in {self.seconds:.1f} s", 1.0))
        except Cancelled as error:
            self._end(Progress("cancelled", "Cancelled"), error)
        except ZooError as error:
            if self._asked_to_stop.is_set():
                self._end(Progress("cancelled", "Cancelled"), Cancelled(f"{self.model}: the request was cancelled."))
            else:
                self._end(Progress("failed", str(error)), error)
        except Exception as error:  # a thread must not end without a word
            self._end(Progress("failed", str(error)), ZooError(f"{type(error).__name__}: {error}"))

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.began

    def _end(self, progress: Progress, error: ZooError | None = None) -> None:
        if self._finished.is_set():
            return
        self.error, self._progress = error, progress
        self._finished.set()

    def _watch(self, phase: str, done: int, total: int) -> None:
        if self._asked_to_stop.is_set():
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
                if self._asked_to_stop.is_set():
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
