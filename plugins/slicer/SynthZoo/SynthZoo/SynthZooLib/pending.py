"""Something that the server does while the panel stays alive: threads of its own, progress, and an end."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from .errors import Cancelled, ZooError


@dataclass(frozen=True)
class Progress:
    """How far it is.

    Args:
        phase: "sends", "waits", "runs", "receives", "done", "failed" or "cancelled".
        text: for people.
        fraction: 0 to 1, or None where nobody knows.
    """

    phase: str
    text: str
    fraction: float | None = None


class Pending:
    """Threads at work; the main thread looks at them from time to time.

    Python's threads only run while Slicer's main thread lets them: call `tick()` from a timer, which waits a moment.

    Args:
        name: of the model, for sentences.
        work: functions of a thread each; one of them calls `_end` at last.
    """

    def __init__(self, name: str, *work):
        self.name = name
        self.answer: object = None
        self.error: ZooError | None = None
        self.began = time.monotonic()
        self._progress = Progress("waits", "Connecting")
        self._finished, self._stop_requested = threading.Event(), threading.Event()
        self._threads = [threading.Thread(target=self._told, args=(function,), daemon=True) for function in work]

    def start(self):
        """Begin; gives itself."""
        for thread in self._threads:
            thread.start()
        return self

    def tick(self, seconds: float = 0.02) -> Progress:
        """Let the threads run for a moment, and say how far they are."""
        self._finished.wait(seconds)
        return self._progress

    @property
    def finished(self) -> bool:
        """Whether there is an answer or an error."""
        return self._finished.is_set()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.began

    def cancel(self) -> None:
        """Take it back; `finished` follows within seconds."""
        self._stop_requested.set()
        if not self.finished:
            self._progress = Progress("waits", "Cancelling")

    def wait(self, seconds: float | None = None):
        """The answer, for scripts.

        Raises:
            ZooError: what went wrong; `Cancelled` if it was taken back.
        """
        if not self._finished.wait(seconds):
            raise ZooError(f"{self.name} has not answered within {seconds:g} s.")
        if self.error is not None:
            raise self.error
        return self.answer

    def _end(self, progress: Progress, error: ZooError | None = None) -> None:
        if self._finished.is_set():
            return
        self.error, self._progress = error, progress
        self._finished.set()

    def _told(self, function) -> None:
        """Run a thread's function; it must not end without a word."""
        try:
            function()
        except Cancelled as error:
            self._end(Progress("cancelled", "Cancelled"), error)
        except ZooError as error:
            self._end(Progress("failed", str(error)), error)
        except Exception as error:
            self._end(Progress("failed", str(error)), ZooError(f"{type(error).__name__}: {error}"))
