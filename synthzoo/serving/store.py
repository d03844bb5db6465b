"""Several bundles in one process: loaded when first requested, kept warm, and put away when memory runs short.

Requests wait in one queue. The first in line starts when fewer than `parallel` others run and when the weights in
memory and the work of all running requests fit the limit; bundles that rest are unloaded for it, the longest unused
first. A request that is alone always runs if it fits the limit at all.
"""

from __future__ import annotations

import collections
import ctypes
import gc
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from synthzoo.errors import UserError
from synthzoo.serving.served import Cancelled, ServedBundle
from synthzoo.serving.tasks import task_names

KEPT_JOBS = 200


@dataclass
class Job:
    """A request on its way: what a client may ask about it while it waits and runs."""

    model: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    state: str = "queued"
    done: int = 0
    total: int = 0
    calls: int = 0
    created: float = field(default_factory=time.time)
    ended: float | None = None
    cancelled: bool = False

    def report(self, done: int, total: int, calls: int) -> None:
        """Take the news of a run; raises `Cancelled` once the job is."""
        self.done, self.total, self.calls = done, total, calls
        if self.cancelled:
            raise Cancelled(f"{self.model}: the request was cancelled.")

    def describe(self) -> dict[str, Any]:
        """The job in JSON's types."""
        seconds = (self.ended or time.time()) - self.created
        keys = ("id", "model", "state", "done", "total", "calls", "cancelled")
        return {**{key: getattr(self, key) for key in keys}, "seconds": round(seconds, 2)}


class ModelStore:
    """The bundles by name, with a queue and a memory limit.

    Args:
        folders: the bundles' folders.
        device: see `ServedBundle`.
        memory_gb: for the weights and the work of all bundles, on top of the process itself; None sets no limit.
        parallel: requests that run at once.
        versions_dir: folder of fine-tuned weights, `<versions_dir>/<bundle>/<version>/model.pt`.
    """

    def __init__(
        self,
        folders: Iterable[str | Path],
        device: str | None = None,
        memory_gb: float | None = None,
        parallel: int = 1,
        versions_dir: str | Path | None = None,
    ) -> None:
        versions = (lambda name: None) if versions_dir is None else (lambda name: Path(versions_dir) / name)
        served = [
            ServedBundle(folder, device, None if entry else versions(Path(folder).resolve().name), entry)
            for folder in folders
            for entry in (None, *task_names(folder))
        ]
        self.bundles = {item.name: item for item in served}
        self.limit = None if memory_gb is None else int(memory_gb * 1e9)
        self.parallel = max(1, int(parallel))
        self.jobs: collections.OrderedDict[str, Job] = collections.OrderedDict()
        self._line: collections.deque[Job] = collections.deque()
        self._running: dict[str, ServedBundle] = {}
        self._used: dict[str, float] = {}
        self._changed = threading.Condition()

    def __getitem__(self, name: str) -> ServedBundle:
        if name not in self.bundles:
            raise UserError(f"there is no model '{name}': the models here are {', '.join(self.bundles) or 'none'}.")
        return self.bundles[name]

    def loaded(self) -> list[str]:
        """The names of the bundles in memory, the longest unused first."""
        names = [name for name, item in self.bundles.items() if item.network is not None]
        return sorted(names, key=lambda name: self._used.get(name, 0))

    def new_job(self, model: str, job_id: str | None = None) -> Job:
        """A job for a model; a client may give its own id, to ask about it later."""
        job = Job(model) if job_id is None else Job(model, id=job_id)
        with self._changed:
            if job.id in self.jobs and self.jobs[job.id].ended is None:
                raise UserError(f"job '{job.id}' is on its way already: choose another id.")
            self.jobs[job.id] = job
            for old in [key for key, item in self.jobs.items() if item.ended is not None]:
                if len(self.jobs) <= KEPT_JOBS:
                    break
                del self.jobs[old]
        return job

    def cancel(self, job_id: str) -> Job:
        """Ask a job to end; one that waits ends at once, one that runs before its next network call."""
        with self._changed:
            if job_id not in self.jobs:
                raise UserError(f"there is no job '{job_id}'.")
            self.jobs[job_id].cancelled = True
            self._changed.notify_all()
            return self.jobs[job_id]

    @contextmanager
    def use(self, job: Job) -> Iterator[ServedBundle]:
        """Wait for the job's turn, and hold the bundle while the block runs.

        Raises:
            Cancelled: the job was cancelled while it waited.
            UserError: an unknown model, or one that never fits the limit.
        """
        with self.ending(job):
            item = self[job.model]
            self._expect_fit(item)
            with self._changed:
                self._line.append(job)
                try:
                    while not (self._line[0] is job and self._may_start(item)):
                        if job.cancelled:
                            raise Cancelled(f"{job.model}: the request was cancelled.")
                        self._changed.wait(timeout=1.0)
                finally:
                    self._line.remove(job)
                    self._changed.notify_all()
                self._running[job.id] = item
            job.state = "running"
            try:
                yield item
            finally:
                with self._changed:
                    del self._running[job.id]
                    self._used[item.name] = time.time()
                    self._changed.notify_all()

    @contextmanager
    def ending(self, job: Job) -> Iterator[None]:
        """See to it that a job has ended when the block has, as done, cancelled or failed; its first end counts."""
        state = "failed"
        try:
            yield
            state = "done"
        except Cancelled:
            state = "cancelled"
            raise
        finally:
            if job.ended is None:
                job.state, job.ended = state, time.time()

    def _expect_fit(self, item: ServedBundle) -> None:
        need = item.weights_bytes() + item.working_bytes()
        if self.limit is not None and need > self.limit:
            raise UserError(
                f"{item.name} needs {need / 1e9:.1f} GB, but memory_gb is {self.limit / 1e9:g}: raise it and start the "
                "server again."
            )

    def _may_start(self, item: ServedBundle) -> bool:
        """Whether `item` may run now; makes room by unloading what rests. One bundle serves one request at a time."""
        running = list(self._running.values())
        if len(running) >= self.parallel or item in running:
            return False
        if self.limit is None:
            return True
        held = sum(self.bundles[name].weights_bytes() for name in self.loaded() if self.bundles[name] is not item)
        need = item.weights_bytes() + item.working_bytes() + sum(other.working_bytes() for other in running)
        for name in self.loaded():
            if held + need <= self.limit:
                break
            other = self.bundles[name]
            if other is not item and other not in running:
                held -= other.weights_bytes()
                other.unload()
                release_memory()
        return held + need <= self.limit


def release_memory() -> None:
    """Give freed memory back to the machine, as far as Python, CUDA and the C library can."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    trim_memory()


M_ARENA_MAX = -8  # of malloc.h


def share_heap() -> None:
    """Let threads that are yet to begin share one heap, where the C library can.

    Else each has its own, whose end `trim_memory` cannot give back: 48 MB for every thread that once read a large file.
    """
    try:
        ctypes.CDLL("libc.so.6").mallopt(M_ARENA_MAX, 1)
    except (OSError, AttributeError):
        return  # no glibc


def trim_memory() -> None:
    """Give back what is free already: the C library keeps it, up to 32 MB an array."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):
        return  # no glibc
