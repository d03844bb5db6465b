"""Every bundle while it runs: it can be ended within one network call, and it costs what its metadata declares."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest
import torch
from bundle_runs import FINISHED_NAMES, ROOT, input_of, quick
from torch import nn
from torch.nn.modules import module as hooks

from synthzoo.bundle.outputs import can_be_shown
from synthzoo.errors import UserError
from synthzoo.serving import served
from synthzoo.serving.cost import GENERATE, MILLION, MOST_MILLIONS, check_cost, cost_of, cost_terms
from synthzoo.serving.served import Cancelled, ServedBundle
from synthzoo.serving.watching import CallCounter, watched

LONGEST_STOP_S = 1.5  # more than any of these networks needs for one call, on a busy core
SERVED = [ServedBundle(ROOT / "bundles" / name) for name in FINISHED_NAMES]
SERVED_NAMES = [bundle.name for bundle in SERVED if can_be_shown(bundle.outputs)]
# What is made where no image is given, and in place of one that is given.
GENERATED = [(bundle.name, False) for bundle in SERVED if bundle.takes_images and not bundle.needs_images]
GENERATED += [(bundle.name, True) for bundle in SERVED if bundle.takes_images and GENERATE in bundle.options]


def values_of(bundle: ServedBundle, path, folder) -> dict:
    """The options of a quick run."""
    made = quick(bundle.folder, path, folder)
    return {key: value for key, value in made.items() if key in bundle.options}


@pytest.mark.parametrize("name", SERVED_NAMES)
def test_a_bundle_ends_soon_after_a_cancel_and_costs_what_it_declares(name, phantom_nifti, tmp_path, monkeypatch):
    counters: list[CallCounter] = []
    monkeypatch.setattr(served, "CallCounter", lambda network: counters.append(CallCounter(network)) or counters[-1])
    bundle = ServedBundle(ROOT / "bundles" / name, device="cpu")
    image = input_of(bundle.folder, phantom_nifti) if bundle.takes_images else None
    values = values_of(bundle, phantom_nifti, tmp_path)
    seen = {"at": 0.0, "calls": 0}

    def cancel_after_the_first_step(done: int, total: int, calls: int) -> None:
        if seen["at"]:
            raise Cancelled("cancelled")
        if calls >= min(3, total_calls):
            seen.update(at=time.monotonic(), calls=calls)

    bundle.run(values, tmp_path / "whole", image, report=lambda *_: None)
    total_calls = counters[0].calls
    assert total_calls >= 1, "not one call of the network was seen"
    with pytest.raises(Cancelled):
        bundle.run(values, tmp_path / "cut", image, report=cancel_after_the_first_step)
    assert time.monotonic() - seen["at"] < LONGEST_STOP_S
    assert counters[1].calls <= seen["calls"] + 1, "more network calls after the cancel"
    declared, counted = cost_of(bundle, values, with_image=image is not None), counters[0].voxels
    assert counted <= declared <= 3 * counted, f"declared {declared:g}, counted {counted}"


@pytest.mark.parametrize("name, with_image", GENERATED)
def test_what_is_generated_without_an_image_costs_what_is_declared(
    name, with_image, phantom_nifti, tmp_path, monkeypatch
):
    counters: list[CallCounter] = []
    monkeypatch.setattr(served, "CallCounter", lambda network: counters.append(CallCounter(network)) or counters[-1])
    bundle = ServedBundle(ROOT / "bundles" / name, device="cpu")
    image = input_of(bundle.folder, phantom_nifti) if with_image else None
    for steps in (2, 30):
        values = (
            values_of(bundle, phantom_nifti, tmp_path) | {"steps": steps} | ({GENERATE: True} if with_image else {})
        )
        bundle.run(values, tmp_path / str(steps), image, report=lambda *_: None)
        declared, counted = cost_of(bundle, values, with_image=with_image), counters[-1].voxels
        assert counted <= declared <= 3 * counted, f"{steps} steps: declared {declared:g}, counted {counted}"


@pytest.mark.parametrize("name", SERVED_NAMES)
def test_every_single_option_may_stand_at_its_end_and_not_all_without_a_bound(name):
    bundle = ServedBundle(ROOT / "bundles" / name)
    terms = [*cost_terms(bundle), *cost_terms(bundle, with_image=False)]
    factors = {part for term in terms for part in term if isinstance(part, str)}
    assert factors <= set(bundle.options), "a factor of the cost that is no option"
    most = {name: bundle.options[name].maximum for name in (*factors, "num_samples") if name in bundle.options}
    for with_image in {True, bundle.needs_images}:
        for option in bundle.options.values():
            if option.type == "integer":
                check_cost(bundle, {option.name: option.maximum}, with_image=with_image)
        if cost_of(bundle, most, with_image=with_image) <= MOST_MILLIONS * MILLION:
            check_cost(bundle, most, with_image=with_image)
            continue
        with pytest.raises(UserError, match="million voxels .* cost_max is 100: lower"):
            check_cost(bundle, most, with_image=with_image)


def test_the_remedy_works_when_it_is_followed():
    bundle = ServedBundle(ROOT / "bundles" / "echo_us_cine_synthesis_jvid")
    for values, limit in (
        ({"num_samples": 64, "steps": 200, "frames": 512}, 100),
        ({"num_samples": 64, "steps": 200, "frames": 512}, 0.2),
        ({"num_samples": 2}, 0.2),
        ({"steps": 60, "frames": 40}, 0.5),
    ):
        with pytest.raises(UserError) as refused:
            check_cost(bundle, values, limit)
        said = str(refused.value)
        assert f"{cost_of(bundle, values) / MILLION:.4g} million" in said and f"cost_max is {limit:g}" in said
        remedy = said.rpartition("lower ")[2].rstrip(".")
        parts = [part.split(" to ") for part in remedy.replace(" and ", " or ").split(" or ")]
        changes = [{name: int(value)} for name, value in parts]
        if " and " in remedy:
            changes = [{name: value for change in changes for name, value in change.items()}]
        for change in changes:
            check_cost(bundle, values | change, limit)
            tried = values | change
            last = list(change)[-1]
            with pytest.raises(UserError):
                check_cost(bundle, tried | {last: tried[last] + 1}, limit)
    with pytest.raises(UserError, match="larger --conf cost_max"):
        check_cost(bundle, {}, 0.0001)


class Odd(nn.Module):
    """A network whose `forward` is never called."""

    def __init__(self):
        super().__init__()
        self.first, self.deep = nn.Conv2d(1, 2, 1), nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU())

    def generate(self, image: torch.Tensor) -> torch.Tensor:
        return self.deep[0](self.deep(self.first(image)))


def test_threads_count_their_own_calls_and_what_is_raised_ends_only_one():
    def stop():
        if counters[1].calls >= 2:
            raise Cancelled("stop")

    networks, image = [Odd(), Odd()], torch.ones(3, 1, 5, 5)
    counters, ended, start = [CallCounter(network) for network in networks], {}, threading.Barrier(2)

    def work(number: int, check) -> None:
        try:
            with watched(counters[number], check):
                start.wait()
                for _ in range(50):
                    networks[number].generate(image)
                nn.Linear(4, 4)(torch.ones(1, 4))  # no part of the network
            ended[number] = "done"
        except Cancelled:
            ended[number] = "cancelled"

    threads = [threading.Thread(target=work, args=(n, check)) for n, check in enumerate((lambda: None, stop))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended == {0: "done", 1: "cancelled"}
    assert (counters[0].calls, counters[0].voxels) == (150, 150 * 75) and counters[1].calls == 2
    assert not hooks._global_forward_pre_hooks and not hooks._global_forward_hooks, "a run leaves no hook behind"


def test_what_the_check_raises_comes_out_whatever_it_was_wrapped_in():
    def stop():
        raise Cancelled("stop")

    def wrapping():
        try:
            Odd().generate(torch.ones(1, 1, 2, 2))
        except Cancelled as error:
            raise RuntimeError("failed to make a data set") from error

    with pytest.raises(Cancelled, match="stop"), watched(CallCounter(Odd()), stop):
        wrapping()
    with pytest.raises(Cancelled, match="stop"), watched(CallCounter(Odd()), stop), contextlib.suppress(RuntimeError):
        wrapping()
    with pytest.raises(KeyError), watched(CallCounter(Odd()), lambda: None):
        raise KeyError("another")
