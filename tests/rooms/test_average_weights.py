"""The mean of networks that were trained from one start."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from synthzoo.errors import UserError

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "average_weights.py"


@pytest.fixture(scope="module")
def average():
    spec = importlib.util.spec_from_file_location("average_weights", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script.main


def test_every_number_is_the_mean_in_the_format_of_the_first_file(average, tmp_path):
    for name, value in (("a", 1.0), ("b", 2.0), ("c", 6.0)):
        state = {"weight": torch.full((2, 3), value).half(), "scale": torch.tensor(value), "count": torch.tensor(4)}
        torch.save(state, tmp_path / f"{name}.pt")
    average(*(str(tmp_path / f"{name}.pt") for name in "abc"), save_to=str(tmp_path / "mean.pt"))
    mean = torch.load(tmp_path / "mean.pt", weights_only=True)
    assert mean["weight"].dtype == torch.float16 and torch.equal(mean["weight"], torch.full((2, 3), 3.0).half())
    assert mean["scale"] == 3.0 and mean["count"] == 4 and mean["count"].dtype == torch.int64


def test_networks_of_two_kinds_are_refused_with_file_and_tensor(average, tmp_path):
    torch.save({"weight": torch.zeros(2)}, tmp_path / "a.pt")
    for number, other in enumerate(({"weight": torch.zeros(3)}, {"weight": torch.zeros(2), "bias": torch.zeros(1)})):
        path = tmp_path / f"other{number}.pt"
        torch.save(other, path)
        with pytest.raises(UserError, match=rf"{path.name}: (weight|bias) is of size .* average networks of one kind"):
            average(str(tmp_path / "a.pt"), str(path), save_to=str(tmp_path / "mean.pt"))
    with pytest.raises(UserError, match="got 1 file, but needs two or more"):
        average(str(tmp_path / "a.pt"), save_to=str(tmp_path / "mean.pt"))
    assert not (tmp_path / "mean.pt").exists()
