"""Every call of a module that a thread makes, seen from outside: progress, cancelling and costs are counted by it.

A network may be called by any method of its own (`denoise`, `decode`, `generate`), but whatever it does goes through
the modules that it is made of, and torch calls hooks before each. They belong to the whole process, so there is one
pair for all runs, which looks up what the running thread has asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as hooks

_thread = threading.local()
_lock = threading.Lock()
_registered: dict[str, Any] = {"runs": 0, "handles": ()}


class CallCounter:
    """Counts the calls of a network's parts: of its children, however deep one stands that a method calls by itself.

    Args:
        network: the network; calls of modules outside it (an instrument's, for example) are seen and not counted.

    Attributes:
        calls: so far.
        voxels: that went through them, in all: entries of the first argument over its channels, [B, C, ...].
    """

    def __init__(self, network: nn.Module) -> None:
        parts = list(network.modules())
        # The network itself is passed through, or a call of `forward` would hide those of its parts.
        self._parts = {id(part) for part in (parts[1:] or parts) if next(part.parameters(), None) is not None}
        self._inside = 0
        self.calls = self.voxels = 0

    def enter(self, module: nn.Module, inputs: tuple) -> None:
        """A module begins."""
        if id(module) not in self._parts:
            return
        self._inside += 1
        if self._inside == 1:
            self.calls += 1
            first = next((item for item in inputs if isinstance(item, torch.Tensor)), None)
            if first is not None:
                self.voxels += first.numel() // (first.shape[1] if first.ndim > 1 else 1)

    def leave(self, module: nn.Module) -> None:
        """A module has ended, well or not."""
        if id(module) in self._parts:
            self._inside -= 1


@dataclass
class Watch:
    """What a thread has asked for, and what its check has raised."""

    counter: CallCounter
    check: Callable[[], None]
    raised: Exception | None = None


@contextmanager
def watched(counter: CallCounter, check: Callable[[], None]) -> Iterator[None]:
    """Count what this thread calls while the block runs, and call `check` before each module, the smallest included.

    What `check` raises ends the call, so that a request ends within a part of one network call; it is what the block
    ends with, whatever it was wrapped in or taken for on its way.
    """
    before = getattr(_thread, "watch", None)
    with _lock:
        _registered["runs"] += 1
        if _registered["runs"] == 1:
            _registered["handles"] = (
                hooks.register_module_forward_pre_hook(_entered),
                hooks.register_module_forward_hook(_left, always_call=True),
            )
    watch = Watch(counter, check)
    _thread.watch = watch
    try:
        yield
    except Exception as error:
        if watch.raised is None or error is watch.raised:
            raise
        raise watch.raised from error
    else:
        if watch.raised is not None:
            raise watch.raised
    finally:
        _thread.watch = before
        with _lock:
            _registered["runs"] -= 1
            if _registered["runs"] == 0:
                for handle in _registered["handles"]:
                    handle.remove()


def _entered(module: nn.Module, inputs: tuple) -> None:
    watch: Watch | None = getattr(_thread, "watch", None)
    if watch is None:
        return
    watch.counter.enter(module, inputs)
    try:
        watch.check()
    except Exception as error:
        watch.raised = error
        raise


def _left(module: nn.Module, *_: Any) -> None:
    watch: Watch | None = getattr(_thread, "watch", None)
    if watch is not None:
        watch.counter.leave(module)
