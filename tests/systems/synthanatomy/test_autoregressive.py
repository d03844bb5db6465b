"""SynthAnatomy in small: what is requested is learned, each request has one image, and shortcuts are measured."""

import json

import numpy as np
import pytest
import torch
from small_tokens import CODES, GRID, LENGTH, ORDER, small_autoencoder, small_transformer

from synthzoo.evaluation.report import Report
from synthzoo.networks.conditions import ConditionNormaliser
from synthzoo.networks.token_transformer import TokenTransformer
from synthzoo.objectives.next_token import NextTokenObjective
from synthzoo.phantoms.brain.phantom import draw_params, make_brain
from synthzoo.systems.synthanatomy.evaluation import GROUPS, SynthAnatomyEvaluation
from synthzoo.systems.synthanatomy.inferer import AutoregressiveInferer
from synthzoo.systems.synthanatomy.likelihood import cross_entropy, entropy_by_place, unigram_entropy
from synthzoo.systems.synthanatomy.network import AutoregressiveSynthesis, ConditionTokens, coordinate_waves
from synthzoo.systems.synthanatomy.shortcuts import CodeLookup

AFFINE = np.eye(4).tolist()


def small(**settings) -> AutoregressiveSynthesis:
    """The small token model under two conditions, in [0, 10] and [0, 1]."""
    torch.manual_seed(2)
    parts = {"autoencoder": small_autoencoder(), "transformer": small_transformer()}
    parts |= {"conditions": ConditionNormaliser([0, 0], [10, 1]), "token_shape": GRID, "affine": AFFINE}
    return AutoregressiveSynthesis(**{**parts, "ordering": ORDER, **settings}).eval()


NOISE = torch.randn(4, 1, *GRID, generator=torch.Generator().manual_seed(4))
VALUES = torch.tensor([[1.0, 0.0], [9.0, 1.0], [float("nan"), 0.5], [5.0, float("nan")]])


def test_a_request_has_one_image_in_whatever_batch_or_chunk():
    network = small()
    whole = AutoregressiveInferer()(NOISE, network, conditions=VALUES)
    assert whole.shape == (4, 1, 12, 16, 12) and whole.min() >= 0 and whole.max() <= 1
    for inferer in (AutoregressiveInferer(chunk=1), AutoregressiveInferer(chunk=3)):
        assert torch.allclose(inferer(NOISE, network, conditions=VALUES), whole, atol=1e-5)
    sequence = AutoregressiveInferer().sample_sequence(NOISE, network, VALUES)
    assert not torch.equal(sequence[0], sequence[1])
    nothing = torch.full_like(VALUES, float("nan"))
    assert torch.equal(AutoregressiveInferer()(NOISE, network), AutoregressiveInferer()(NOISE, network, nothing))


def test_top_k_and_temperature_reach_the_codes():
    network = small()
    best = AutoregressiveInferer(top_k=1).sample_sequence(NOISE, network, VALUES)
    again = AutoregressiveInferer(top_k=1).sample_sequence(NOISE.flip(0), network, VALUES)
    assert torch.equal(best, again), "with one code to choose from noise decides nothing"
    cold = AutoregressiveInferer(temperature=1e-3).sample_sequence(NOISE, network, VALUES)
    assert torch.equal(cold, best)
    assert not torch.equal(AutoregressiveInferer().sample_sequence(NOISE, network, VALUES), best)


@torch.no_grad()
def test_the_previews_first_tokens_are_the_samplers_and_all_are_after_as_many_passes():
    network = small()
    sampled = AutoregressiveInferer().sample_sequence(NOISE, network, None)
    for passes in (1, 5):
        assert torch.equal(network.preview(NOISE, passes)[:, :passes], sampled[:, :passes])
    assert torch.equal(network.preview(NOISE, LENGTH), sampled)
    assert network(NOISE).shape == (4, 1, 12, 16, 12)


def test_each_condition_has_tokens_of_its_own_and_unset_is_none_of_its_values():
    tokens = ConditionTokens(2, 16)
    values = torch.tensor([[0.2, 0.9], [0.9, 0.2], [0.2, -1.0]])
    found = tokens(values)
    assert found.shape == (3, 2, 16)
    assert not torch.allclose(found[0], found[1].flip(0), atol=0.1), "a swap of values is seen"
    assert torch.equal(found[2, 0], found[0, 0]) and torch.equal(found[2, 1], tokens.unset[1])
    network = small()
    assert torch.equal(network.context(None, 1), network.context(torch.full((1, 2), float("nan")), 1))
    bounds = {name for name in network.state_dict() if name.startswith("conditions.")}
    assert bounds == {"conditions.low", "conditions.high"}, "the normaliser is saved with the weights"


def test_positions_begin_as_waves_of_their_voxels_coordinates():
    shape = (5, 4, 3)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    found = coordinate_waves(order, shape, 256)
    assert found.shape == (60, 256) and found.std() == pytest.approx(1, abs=0.15)
    grid = torch.empty(60, 256).index_copy(0, order, found).reshape(*shape, 256)
    steps = [grid[1:, 0, 0] - grid[:-1, 0, 0], grid[1:, 2, 1] - grid[:-1, 2, 1]]
    assert torch.allclose(*steps, atol=1e-5), "a step along an axis is the same wherever it is taken"
    distance = torch.cdist(grid[:, 0, 0], grid[:1, 0, 0])[:, 0]
    assert distance[0] < 1e-3 < distance[1:].min(), "and each place is another"
    network = small()
    positions = network.transformer.position_embeddings.embedding.weight
    swapped = small(ordering={"ordering_type": "raster_scan"}).transformer.position_embeddings.embedding.weight
    assert torch.allclose(positions[network.places], swapped, atol=1e-5), "they follow the order"


def test_the_codebook_alone_follows_without_gradients():
    assert {name for name, p in small().named_parameters() if not p.requires_grad} == {
        "autoencoder.quantizer.quantizer.embedding.weight"
    }


class Rows(list):
    """Sequences whose share of code 1 is the first condition."""

    def __init__(self, count, seed):
        draw = torch.Generator().manual_seed(seed)
        for _ in range(count):
            share = torch.rand(1, generator=draw)
            tokens = (torch.rand(LENGTH, generator=draw) < share).long()
            self.append({"tokens": tokens, "conditions": torch.stack([10 * share[0], torch.rand((), generator=draw)])})


def test_what_is_requested_is_learned_from_cached_codes():
    torch.manual_seed(0)
    transformer = TokenTransformer(
        CODES + 1, LENGTH, attn_layers_dim=16, attn_layers_depth=1, attn_layers_heads=2, with_cross_attention=True
    )
    network, rows = small(transformer=transformer), Rows(256, 0)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2)
    objective, draw = NextTokenObjective(), torch.Generator().manual_seed(1)
    for _ in range(120):
        part = [rows[int(k)] for k in torch.randint(256, (32,), generator=draw)]
        batch = {name: torch.stack([row[name] for row in part]) for name in ("tokens", "conditions")}
        optimizer.zero_grad()
        objective(network, batch)["loss"].backward()
        optimizer.step()
    requested = torch.stack([torch.linspace(0.5, 9.5, 40), torch.rand(40)], 1)
    noise = torch.randn(40, 1, *GRID, generator=draw)
    measured = AutoregressiveInferer().sample_sequence(noise, network, requested).float().mean(1)
    assert np.corrcoef(requested[:, 0], measured)[0, 1] > 0.9
    unseen = Rows(64, 9)
    own, other, none = (cross_entropy(network, unseen, which) for which in ("requested", "shuffled", "unset"))
    assert own < none < other
    assert own < 0.8 * unigram_entropy(torch.stack([row["tokens"] for row in rows]), CODES)


def test_counting_predicts_what_it_can():
    train = torch.tensor([[0, 1], [0, 1], [0, 0], [0, 0]])
    assert unigram_entropy(train, 4) == pytest.approx(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)), abs=1e-6)
    found = entropy_by_place(train, torch.tensor([[0, 1]]), 4)
    assert found == pytest.approx(-(np.log(4.02 / 4.08) + np.log(2.02 / 4.08)) / 2, abs=1e-6)


def test_a_lookup_answers_with_the_nearest_training_codes():
    network = small()
    tokens = torch.randint(0, CODES, (6, LENGTH))
    conditions = torch.stack([torch.arange(6) * 2.0, torch.zeros(6)], 1)
    images = CodeLookup(tokens, conditions, "nearest")(NOISE[:2], network, torch.tensor([[4.1, 0.0], [9.9, 0.0]]))
    with torch.inference_mode():
        expected = network.decode(network.grid(tokens[[2, 5]])).clamp(0, 1)
    assert torch.allclose(images, expected, atol=1e-6)
    mixed = CodeLookup(tokens, conditions, "independent", neighbours=3)
    assert not torch.allclose(mixed(NOISE[:1], network, torch.tensor([[4.1, 0.0]])), expected[:1])


class Answer(AutoregressiveInferer):
    """Answers with a phantom of what was requested."""

    def __call__(self, inputs, network, conditions=None, **kwargs):
        images = []
        for row in conditions.tolist():
            given = dict(zip(("age", "ventricle_ml", "brain_ml"), (row[0], row[2], row[3])))
            given = {name: value for name, value in given.items() if np.isfinite(value)}
            images.append(make_brain(draw_params(280_000, **given), noise=0.01, bias=0.1).image)
        return torch.from_numpy(np.stack(images))[:, None]


def test_the_evaluations_own_tables(tmp_path):
    levels = {"channels": (4,) * 4, "num_res_channels": (4,) * 4, "downsample_parameters": ((2, 4, 1, 1),) * 4}
    autoencoder = small_autoencoder(**levels, upsample_parameters=((2, 4, 1, 1, 0),) * 4)
    image = torch.from_numpy(make_brain(draw_params(7)).image)[None, None]
    autoencoder.restart_codes(autoencoder.encode(image))
    with torch.no_grad():  # untrained as it is, it gives something that an instrument takes
        autoencoder.decoder.blocks[-1].conv.bias.fill_(0.4)
    bounds = ConditionNormaliser([20, 0, 5, 900], [90, 1, 120, 1600])
    network = small(autoencoder=autoencoder, conditions=bounds, token_shape=(3, 3, 3), margin=(0, 4, 0))
    evaluation = SynthAnatomyEvaluation(
        network=network,
        inferer=Answer(),
        report=Report(tmp_path / "metrics.json", "a command"),
        work_dir=tmp_path / "work",
        count=8,
        sweep_count=8,
        training_size=10,
        unseen_size=3,
        group_size=4,
        settings_swept=[{"temperature": 0.9}],
        batch_size=4,
        parts=("populations", "codes", "shortcuts", "settings"),
    )
    figures = evaluation.run()["figures"]
    assert figures["population_p"] < 0.01 and figures["population_worst_mean"] < 0.15
    assert figures["code_nats"] > 0 and 0 < figures["codes_used"] <= 1 and figures["perplexity"] >= 1
    assert {"nearest_fid", "independent_fid", "nearest_ventricle_r"} <= set(figures)
    tables = json.loads((tmp_path / "metrics.json").read_text())["tables"]
    assert [row[0] for row in tables[0]["rows"][:4]] == [name for name in GROUPS for _ in range(2)]
    shortcuts = tables[2]["rows"]
    assert len(shortcuts) == 5 and shortcuts[0][0] == "generated" and shortcuts[-1][0] == "phantoms"
