"""The waiting lines of heavy requests: bounded, and in threads of their own, so that light ones are always answered.

Whatever waits in the threads that answer everything keeps others from being answered. A heavy route is therefore
admitted first and then runs in a pool of its own; beyond the bound it is refused at once, with 429.
"""

from __future__ import annotations

import asyncio
import collections
import contextvars
import functools
import inspect
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fastapi import HTTPException
from starlette.concurrency import run_in_threadpool

from synthzoo.serving.store import trim_memory

QUEUE_MAX = 16
LONGEST_RETRY_S = 600


class Line:
    """Heavy requests of one kind.

    Args:
        name: of its threads.
        what: waits in it, in the plural.
        workers: requests that run at once.
        queue_max: requests that may wait.
        own_threads: a thread for each that waits, where what they run has a line of its own (`ModelStore.use`), which
            shows and cancels them under `/zoo/jobs`; else the pool itself is the line.
    """

    def __init__(self, name: str, what: str, workers: int, queue_max: int, own_threads: bool = False):
        self.what, self.workers, self.queue_max = what, workers, queue_max
        self._remedy = ", or cancel one that /zoo/jobs shows" if own_threads else ""
        threads = workers + (queue_max if own_threads else 0)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._admitted = 0
        self._seconds: collections.deque[float] = collections.deque([2.0], maxlen=20)

    def waiting(self) -> int:
        """How many wait."""
        return max(0, self._admitted - self.workers)

    async def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What the function gives, from a thread of this line.

        Raises:
            HTTPException: 429 where the line is full.
        """
        with self._lock:
            waiting = self.waiting()
            if self._admitted >= self.workers + self.queue_max:
                mean = sum(self._seconds) / len(self._seconds)
                seconds = min(max(1, round(mean * (waiting + 1) / self.workers)), LONGEST_RETRY_S)
                raise HTTPException(
                    status_code=429,
                    detail=f"{waiting} {self.what} wait already, and queue_max is {self.queue_max}: try again in "
                    f"{seconds} s{self._remedy}.",
                    headers={"Retry-After": str(seconds)},
                )
            self._admitted += 1
        began = time.monotonic()
        call = functools.partial(contextvars.copy_context().run, functools.partial(let_go, function, *args, **kwargs))
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, call)
        finally:
            with self._lock:
                self._admitted -= 1
                self._seconds.append((time.monotonic() - began) / (waiting + 1))

    def heavy(self, when: Callable[[dict[str, Any]], bool] | None = None) -> Callable[..., Any]:
        """Decorator of a route's plain function: requests of this route wait in this line.

        Args:
            when: tells by the arguments of the route whether this request is heavy; None: each is.
        """

        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(function)
            async def run(**kwargs: Any) -> Any:
                if when is None or when(kwargs):
                    return await self.run(function, **kwargs)
                return await run_in_threadpool(function, **kwargs)

            return run

        return decorate


def let_go(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What the function gives; an error that it answers with keeps nothing alive of what was read.

    An error holds the frames that it came through, and they the volume that was refused, until Python collects them.
    """
    try:
        return function(*args, **kwargs)
    except HTTPException as error:
        said = HTTPException(error.status_code, error.detail, error.headers)
        cause: BaseException | None = error
        while cause is not None:
            traceback.clear_frames(cause.__traceback__)
            following = cause.__cause__ or cause.__context__
            cause.__traceback__ = cause.__cause__ = cause.__context__ = None
            cause = following
    finally:
        trim_memory()
    raise said


def off_the_loop(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """A stock endpoint as a plain function, which is run by a thread.

    The stock ones are coroutines that never wait: they copy files and hash them while nobody else is answered.
    """
    if not inspect.iscoroutinefunction(endpoint):
        return endpoint

    def run(*args: Any, **kwargs: Any) -> Any:
        coroutine = endpoint(*args, **kwargs)
        try:
            coroutine.send(None)
        except StopIteration as ended:
            return ended.value
        coroutine.close()
        raise RuntimeError(f"{endpoint.__name__} waits for something: it belongs on the event loop")

    run.__signature__ = inspect.signature(endpoint)  # type: ignore[attr-defined]
    run.__name__, run.__doc__, run.__module__ = endpoint.__name__, endpoint.__doc__, endpoint.__module__
    return run
