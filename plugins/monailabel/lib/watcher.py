"""Changes that others make in the studies folder, told to the datastore."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import Any

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.polling import PollingObserver

logger = logging.getLogger(__name__)
PAUSE_S = 0.3  # many files that arrive together are one change


class Watcher(FileSystemEventHandler):
    """Calls `changed` in a thread of its own after files appeared, went or were renamed, or the table was written.

    Args:
        folder: watched with the folders below it.
        table: name of the table; other files may be written to without anyone being told.
        changed: what to call.
        polling: look again and again, for mounted folders that tell nothing.
    """

    def __init__(self, folder: str, table: str, changed: Callable[[], Any], polling: bool):
        self.table, self.changed = table, changed
        self._news, self._ended = threading.Event(), False
        self._observer = PollingObserver() if polling else Observer()
        self._observer.schedule(self, folder, recursive=True)
        self._observer.start()
        threading.Thread(target=self._tell, name="studies", daemon=True).start()

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Take note of what concerns a study, a label or the table."""
        paths = [os.fsdecode(path) for path in (event.src_path, event.dest_path) if path]
        names = [os.path.basename(path) for path in paths]
        shown = [name for name in names if not name.startswith(".")]
        moved = event.event_type in ("created", "deleted", "moved") and shown
        if moved or (event.event_type == "modified" and self.table in names):
            self._news.set()

    def _tell(self) -> None:
        while True:
            self._news.wait()
            self._news.clear()
            if self._ended:
                return
            threading.Event().wait(PAUSE_S)
            try:
                self.changed()
            except Exception:  # the next change is told again
                logger.exception("the studies folder could not be read")

    def close(self) -> None:
        """End both threads."""
        self._ended = True
        self._news.set()
        self._observer.stop()
