"""Benchmark of samplers in one process, taking turns: seconds, network calls, arithmetic, memory, image quality.

    utilisation = floating-point operations of the networks / seconds inside them / the rate of a matrix product

The matrix product is measured in the same run, before and after each turn, on the same threads and in the same
precision, and its best rate counts. A share above 1 says that this rate was not the peak, because the machine was busy
or a convolution took fewer operations than were counted: such a measurement has failed, and `FAILED` stands for it.
"""

from __future__ import annotations

import contextlib
import os
import platform
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count
from tqdm import tqdm

from synthzoo.evaluation.subjects import Subjects
from synthzoo.metrics.agreement import agreement
from synthzoo.metrics.fidelity import fid

Sampler = Callable[..., torch.Tensor]  # (noise, network, conditions=...) -> image


def _convolution_flop(
    x_shape: Sequence[int], w_shape: Sequence[int], *args: Any, out_shape: Any = None, **kwargs: Any
) -> int:
    return conv_flop_count(x_shape, w_shape, out_shape)


FAILED = "failed"  # in place of a share of the peak above 1
DIRECT_CONVOLUTION = {torch.ops.aten.mkldnn_convolution: _convolution_flop}  # which the counter does not know


def synchronise(device: torch.device) -> None:
    """Wait for the accelerator, so that the clock tells the truth."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def machine_of(device: torch.device) -> str:
    """What a report says of the machine: cores, threads of this process, device."""
    return f"{os.cpu_count()} cores ({platform.machine()}), {torch.get_num_threads()} threads, {device}"


def matmul_rate(
    device: torch.device, dtype: torch.dtype = torch.float32, size: int = 1024, seconds: float = 0.5
) -> tuple[float, float]:
    """Floating-point operations per second of one square matrix product, the best of those done within `seconds`.

    Returns:
        per second, and per second of processor time of this process (which other processes do not lower).
    """
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    torch.mm(a, b)
    shortest, least, began = float("inf"), float("inf"), time.perf_counter()
    while time.perf_counter() - began < seconds or shortest == float("inf"):
        synchronise(device)
        start, busy = time.perf_counter(), time.process_time()
        torch.mm(a, b)
        synchronise(device)
        shortest = min(shortest, time.perf_counter() - start)
        least = min(least, max(time.process_time() - busy, 1e-9))
    return 2 * size**3 / shortest, 2 * size**3 / least


def share_of_peak(operations: float, seconds: float, peak: float) -> float | str:
    """Operations per second as a share of `peak`, or `FAILED` where it is above 1."""
    share = round(operations / seconds / peak, 3)
    return share if share <= 1 else FAILED


class PeakMemory:
    """Growth of memory during a `with` block, in MiB: `grown`.

    On CUDA the allocator's peak; otherwise the peak resident set of this process. Where the system does not let one
    reset that peak, the resident set is looked at every millisecond instead, which can miss a very short peak.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.grown = device, None

    def __enter__(self) -> PeakMemory:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self.start = torch.cuda.memory_allocated(self.device) / 2**20
            return self
        self.start = self.highest = self._resident()
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
        peak = self._kernel_peak()
        self.watcher = None
        if peak is None or peak > self.start + 16:  # there is no such counter, or it still holds an older peak
            self.done = threading.Event()
            self.watcher = threading.Thread(target=self._watch, daemon=True)
            self.watcher.start()
        return self

    def __exit__(self, *error: Any) -> None:
        if self.device.type == "cuda":
            self.grown = torch.cuda.max_memory_allocated(self.device) / 2**20 - self.start
        elif self.watcher is None:
            self.grown = self._kernel_peak() - self.start
        else:
            self.done.set()
            self.watcher.join()
            self.grown = self.highest - self.start

    def _watch(self) -> None:
        while not self.done.wait(0.001):
            self.highest = max(self.highest, self._resident())

    @staticmethod
    def _resident() -> float:
        return psutil.Process().memory_info().rss / 2**20

    @staticmethod
    def _kernel_peak() -> float | None:
        with contextlib.suppress(OSError):
            for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) / 1024
        return None


class Stopwatch:
    """Calls of a network's denoiser, and seconds (and processor time) inside denoiser and decoding, while entered."""

    def __init__(self, network: Any, device: torch.device) -> None:
        self.network, self.device, self.calls, self.seconds, self.busy = network, device, 0, 0.0, 0.0

    def __enter__(self) -> Stopwatch:
        self.originals = {"denoiser": self.network.denoiser.forward, "decode": self.network.decode}
        self.network.denoiser.forward = self.timed(self.originals["denoiser"], count=True)
        self.network.decode = self.timed(self.originals["decode"])
        return self

    def __exit__(self, *error: Any) -> None:
        del self.network.denoiser.forward, self.network.decode  # the methods of the classes show again

    def timed(self, function: Callable, count: bool = False) -> Callable:
        """The function, with its time added up."""

        def call(*args: Any, **kwargs: Any) -> Any:
            synchronise(self.device)
            start, busy = time.perf_counter(), time.process_time()
            result = function(*args, **kwargs)
            synchronise(self.device)
            self.seconds += time.perf_counter() - start
            self.busy += time.process_time() - busy
            self.calls += count
            return result

        return call


def measure_samplers(
    samplers: Mapping[str, tuple[Sampler, Any]],
    noise: torch.Tensor,
    conditions: torch.Tensor,
    turns: int = 5,
    dtype: torch.dtype = torch.float32,
    peak_seconds: float = 0.5,
) -> dict[str, dict]:
    """Let the samplers take turns on the same noise and conditions.

    Args:
        samplers: name -> (sampler, composite network that it runs, with `denoiser` and `decode`).
        noise: (B, C, d, h, w), one batch.
        conditions: (B, K) in user units.
        turns: rounds; the median is reported. One more goes before, unmeasured.
        dtype: in which the matrix product is measured.
        peak_seconds: given to the matrix product before and after each turn.

    Returns:
        name -> seconds_per_volume (median, fastest, slowest), network_calls, network_share, gflop_per_volume, gflops,
        peak_gflops, utilisation, utilisation_busy (the same in processor time, which other processes do not lower),
        peak_memory_mib. A share above 1 is `FAILED`.
    """
    device, count = noise.device, noise.shape[0]
    taken: dict[str, list[dict]] = {name: [] for name in samplers}
    work: dict[str, int] = {}
    rates = []
    for name, (sampler, network) in samplers.items():  # warm-up, and what there is to compute
        with FlopCounterMode(display=False, custom_mapping=DIRECT_CONVOLUTION) as counter:
            sampler(noise, network, conditions=conditions)
        work[name] = counter.get_total_flops()
    for _ in tqdm(range(turns), desc="turns"):
        for name, (sampler, network) in samplers.items():
            rates.append(matmul_rate(device, dtype, seconds=peak_seconds))
            with PeakMemory(device) as memory, Stopwatch(network, device) as watch:
                synchronise(device)
                start = time.perf_counter()
                sampler(noise, network, conditions=conditions)
                synchronise(device)
                seconds = time.perf_counter() - start
            rates.append(matmul_rate(device, dtype, seconds=peak_seconds))
            taken[name].append(
                {
                    "seconds": seconds,
                    "inside": watch.seconds,
                    "busy": watch.busy,
                    "calls": watch.calls,
                    "memory": memory.grown,
                }
            )
    peak, peak_busy = (max(rate) for rate in zip(*rates))
    result = {}
    for name, turns_taken in taken.items():
        seconds = [turn["seconds"] for turn in turns_taken]
        inside = statistics.median(turn["inside"] for turn in turns_taken)
        busy = statistics.median(turn["busy"] for turn in turns_taken)
        memory = [turn["memory"] for turn in turns_taken if turn["memory"] is not None]
        result[name] = {
            "seconds_per_volume": round(statistics.median(seconds) / count, 4),
            "fastest": round(min(seconds) / count, 4),
            "slowest": round(max(seconds) / count, 4),
            "network_calls": turns_taken[0]["calls"],
            "network_share": round(inside / statistics.median(seconds), 3),
            "gflop_per_volume": round(work[name] / count / 1e9, 2),
            "gflops": round(work[name] / inside / 1e9, 1),
            "peak_gflops": round(peak / 1e9, 1),
            "utilisation": share_of_peak(work[name], inside, peak),
            "utilisation_busy": None if device.type == "cuda" else share_of_peak(work[name], busy, peak_busy),
            "peak_memory_mib": round(max(memory), 1) if memory else None,
        }
    return result


def measure_quality(
    images: torch.Tensor, requested: np.ndarray, true: np.ndarray, subjects: Subjects, spacing_mm: float
) -> dict[str, float]:
    """Quality of the volumes: agreement with the request, and FID against phantoms of the same requests.

    Args:
        images: (N, 1, D, H, W) in [0, 1].
        requested: (N, K) in user units.
        true: (N, D, H, W), the phantoms.
        subjects: whose volumes they are.
        spacing_mm: of both.

    Returns:
        r of each measure by its short name, such as r_ventricle, the slope of the first one, fid.
    """
    volumes = images[:, 0].numpy()
    wanted, read = subjects.requested(requested), subjects.together(subjects.measure(volumes, spacing_mm))
    found: dict[str, float] = {}
    for name in subjects.measured:
        one, word = agreement(wanted[name], read[name]), subjects.short[name]
        found |= {f"r_{word}": one["r"]} if found else {f"r_{word}": one["r"], f"slope_{word}": one["slope"]}
    features = (subjects.features(one, spacing_mm) for one in (volumes, true))
    return found | {"fid": round(fid(*features), 6)}


def generate(
    sampler: Sampler, network: Any, noise: torch.Tensor, conditions: torch.Tensor, batch: int, what: str = "generate"
) -> torch.Tensor:
    """Images (N, 1, D, H, W) on the CPU for noise (N, ...) and conditions (N, K), in batches, with a progress bar."""
    parts = list(zip(noise.split(batch), conditions.split(batch), strict=True))
    return torch.cat([sampler(z, network, conditions=values).cpu() for z, values in tqdm(parts, desc=what)])


SHOWN = {
    "network_calls": "calls",
    "seconds_per_volume": "s per volume",
    "fastest": "fastest",
    "slowest": "slowest",
    "gflop_per_volume": "GFLOP per volume",
    "utilisation": "share of peak",
    "utilisation_busy": "in processor time",
    "peak_memory_mib": "peak MiB",
}


def sampling_table(
    rows: Mapping[str, Mapping], settings: Mapping, baseline_steps: int, batch: int, quality: int, machine: str
) -> dict:
    """The card's table of `measure_samplers` and `measure_quality`: a row for each sampler."""
    measured = {key: key.replace("_", " ") for row in rows.values() for key in row if key.startswith("r_")}
    known = {**SHOWN, **measured, "fid": "FID"}
    columns = {key: text for key, text in known.items() if any(key in row for row in rows.values())}
    peak = max(row["peak_gflops"] for row in rows.values())
    title = f"The same weights in other samplers, in turns, {batch} volumes at once, {machine}; share of peak: "
    title += f"arithmetic inside the networks over the {peak:g} GFLOP/s of a matrix product in the same run"
    if any(row.get(key) == FAILED for row in rows.values() for key in ("utilisation", "utilisation_busy")):
        title += f"; {FAILED}: a share above 1, so that the product's rate was not the peak"
    if quality:
        title += f"; r and FID of {quality} volumes from the same noise and requests"
    own = f"{settings['sampler']} {settings['steps']}"
    names = [f"ours ({own})" if name == "ours" else f"{name} (DDIM {baseline_steps})" for name in rows]
    table = [[name, *(row.get(key) for key in columns)] for name, row in zip(names, rows.values())]
    return {"title": title, "columns": ["sampler", *columns.values()], "rows": table}


def compare(rows: Mapping[str, Mapping]) -> dict[str, float]:
    """Speed-up of "ours" over each baseline, and its own figures."""
    ours = rows["ours"]
    figures = {
        f"times as fast as {name}": round(row["seconds_per_volume"] / ours["seconds_per_volume"], 2)
        for name, row in rows.items()
        if name != "ours"
    }
    return figures | {key: ours[key] for key in ("seconds_per_volume", "utilisation", "peak_memory_mib")}


def print_table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Rows by name -> text, one line per figure and one column per row."""
    names = list(rows)
    figures = list(dict.fromkeys(figure for row in rows.values() for figure in row))
    lines = [["", *names]] + [[f, *(str(rows[name].get(f, "-")) for name in names)] for f in figures]
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    text = "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)
    print(text)
    return text
