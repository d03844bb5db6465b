"""The benchmark of label-to-image synthesis: the same weights in all samplers, painters of the same widths."""

from __future__ import annotations

import torch
from small_label_model import small_label_model

from synthzoo.evaluation.label_benchmark import benchmark_labels, monai_painter
from synthzoo.inferers.label_to_image import LabelToImageInferer


def test_monais_painter_has_the_widths_of_ours_and_paints_slices_of_the_same_size():
    own = small_label_model().painter
    theirs = monai_painter(own)
    assert [theirs.decoder.num_channels, own.decoder.num_channels[:-1]] == [[8, 8, 1], [8, 8]]
    assert theirs(torch.rand(2, own.classes, 16, 16), torch.rand(2, 1, 16, 16))[0].shape == (2, 1, 16, 16)
    assert own.decoder.num_channels == [8, 8, 4], "the painter's own list stays as it is"


def test_samplers_and_painters_are_measured_and_reported():
    inferer = LabelToImageInferer(steps=3, guidance=1.5)
    report = benchmark_labels(small_label_model(), inferer, "a command", turns=1, batch=2)
    samplers, painters = report["tables"]
    names = ["ours", "ours without guidance", "MONAI, DDIM, 3 steps", "MONAI, DDIM, 50 steps"]
    assert [row[0] for row in samplers["rows"]] == names
    calls = [row[3] for row in samplers["rows"]]
    assert calls == [3, 3, 3, 50], "a guided call has twice the batch"
    assert len(painters["rows"]) == 2
    assert report["figures"]["unguided_times_as_fast_as_MONAI, DDIM, 50 steps"] > 2
    assert report["command"] == "a command" and inferer.guidance == 1.5
