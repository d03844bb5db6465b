"""The benchmark of token samplers compares the same weights, and what it reports is right."""

import pytest
import torch
from small_tokens import LENGTH, small_token_images, small_transformer

from synthzoo.evaluation.token_benchmark import (
    MONAI,
    OURS,
    UNCACHED,
    benchmark_tokens,
    monai_transformer,
    sample_uncached,
)
from synthzoo.inferers.tokens import sample_tokens


def test_the_uncached_loop_gives_the_same_tokens_and_monais_network_the_same_logits():
    network, context = small_transformer(), torch.randn(2, 3, 16)
    uniform = torch.rand(2, LENGTH, dtype=torch.float64)
    tokens = sample_tokens(network, uniform, context)
    assert torch.equal(sample_uncached(network, uniform, context), tokens)
    with torch.no_grad():
        assert torch.allclose(monai_transformer(network)(tokens, context), network(tokens, context), atol=1e-4)


def test_all_samplers_are_measured_and_reported():
    report = benchmark_tokens(small_token_images(), "a command", turns=2, batch=2)
    found = report["measured"]
    assert found["same_tokens"] == 1 and found["largest_difference"] < 1e-4 < found["largest_logit"]
    assert [row[0] for row in report["tables"][0]["rows"]] == [OURS, MONAI, UNCACHED]
    seconds = {name: row["processor_seconds"] for name, row in found["rows"].items()}
    assert min(seconds.values()) > 0
    assert report["figures"]["times_as_fast_as_monai"] == pytest.approx(seconds[MONAI] / seconds[OURS], abs=0.06)
