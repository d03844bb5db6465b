"""The cached transformer gives MONAI's logits, and a sequence is a function of its own numbers and context."""

import copy

import pytest
import torch
from monai.networks.nets import DecoderOnlyTransformer
from small_tokens import CODES, LENGTH, small_transformer

from synthzoo.errors import UserError
from synthzoo.inferers.tokens import check_sampling, choose, sample_tokens, uniform_of
from synthzoo.networks.token_transformer import KeyValueCache

CONTEXT = torch.randn(3, 2, 16, generator=torch.Generator().manual_seed(5))
TOKENS = torch.randint(0, CODES, (3, LENGTH), generator=torch.Generator().manual_seed(6))


def theirs(cross: bool, combined: bool = False) -> DecoderOnlyTransformer:
    torch.manual_seed(7)
    network = DecoderOnlyTransformer(CODES + 1, LENGTH, 16, 2, 4, cross, use_combined_linear=combined)
    with torch.no_grad():
        network.to_logits.weight.mul_(6)
    return network.eval()


@pytest.mark.parametrize("cross", [True, False])
@pytest.mark.parametrize("combined", [True, False])
@torch.no_grad()
def test_with_and_without_the_cache_the_logits_are_monais(cross, combined):
    reference = theirs(cross, combined)
    network = small_transformer(cross, use_combined_linear=combined)
    network.load_state_dict(reference.state_dict(), strict=True)  # its causal masks are no weights here
    context = CONTEXT if cross else None
    sequence = torch.nn.functional.pad(TOKENS[:, :-1], (1, 0), value=CODES)
    expected = reference(sequence, context)
    assert (network(sequence, context) - expected).abs().max() < 1e-4
    cache = KeyValueCache(network, 3, context)
    steps = torch.cat([network(sequence[:, [place]], cache=cache) for place in range(LENGTH)], 1)
    assert (steps - expected).abs().max() < 1e-4
    cache = KeyValueCache(network, 3, context)
    parts = [network(part, cache=cache) for part in sequence.split([1, 7, 2, LENGTH - 10], 1)]
    assert (torch.cat(parts, 1) - expected).abs().max() < 1e-4, "tokens that go in together see none that come later"
    assert torch.equal(network.next_logits(TOKENS, context), network(sequence, context)[..., :CODES])


def test_no_causal_mask_is_stored_and_copies_load_too():
    network = copy.deepcopy(small_transformer())
    assert not [name for name in network.state_dict() if "mask" in name]
    network.load_state_dict(theirs(True).state_dict(), strict=True)


@torch.no_grad()
def test_the_likelihood_is_that_of_the_tokens_without_the_begin_token():
    network = small_transformer()
    found = network.log_likelihood(TOKENS, CONTEXT)
    sequence = torch.nn.functional.pad(TOKENS[:, :-1], (1, 0), value=CODES)
    probabilities = theirs_of(network)(sequence, CONTEXT)[..., :CODES].softmax(-1)
    expected = probabilities.gather(2, TOKENS[..., None])[..., 0].log()
    assert torch.allclose(found, expected, atol=1e-4)


def theirs_of(network) -> DecoderOnlyTransformer:
    other = theirs(True)
    other.load_state_dict({**other.state_dict(), **network.state_dict()})
    return other


def test_a_token_is_chosen_where_its_number_lies():
    logits = torch.tensor([[0.1, 0.2, 0.3, 0.4]]).log()
    for uniform, token in ((0.0, 0), (0.05, 0), (0.15, 1), (0.35, 2), (0.65, 3), (1 - 2**-50, 3)):
        assert choose(logits, torch.tensor([uniform], dtype=torch.float64)).tolist() == [token]
    uniform = torch.linspace(0, 1, 10_001, dtype=torch.float64)[:-1]
    counts = torch.bincount(choose(logits.expand(10_000, 4), uniform))
    assert counts.tolist() == pytest.approx([1000, 2000, 3000, 4000], abs=2)
    best = choose(logits.expand(10_000, 4), uniform, top_k=2)
    assert set(best.tolist()) == {2, 3}
    assert set(choose(logits.expand(10_000, 4), uniform, top_k=1).tolist()) == {3}
    cold = torch.bincount(choose(logits.expand(10_000, 4), uniform, temperature=0.25))
    assert cold[3] > 7000
    assert float(uniform_of(torch.tensor([-40.0, 40.0])).min()) >= 0 and float(uniform_of(torch.tensor([40.0]))) < 1
    assert float(uniform_of(torch.tensor([0.0]))) == 0.5


@torch.no_grad()
def test_samples_are_what_the_uncached_loop_gives_in_whatever_batch():
    network = small_transformer()
    uniform = torch.rand(3, LENGTH, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
    found = sample_tokens(network, uniform, CONTEXT)
    tokens = torch.zeros(3, LENGTH, dtype=torch.long)
    for place in range(LENGTH):
        logits = network.next_logits(tokens, CONTEXT)[:, place]
        tokens[:, place] = choose(logits, uniform[:, place])
    assert torch.equal(found, tokens)
    assert torch.equal(sample_tokens(network, uniform[1:2], CONTEXT[1:2]), found[1:2])
    assert int(found.max()) < CODES, "the begin token is never sampled"


def test_the_begin_token_is_not_sampled_however_probable():
    network = small_transformer()
    with torch.no_grad():
        network.to_logits.bias[CODES] = 100.0
        uniform = torch.rand(2, LENGTH, dtype=torch.float64)
        found = sample_tokens(network, uniform, CONTEXT[:2], top_k=1)
    assert int(found.max()) < CODES


@torch.no_grad()
def test_given_tokens_stay_and_the_rest_is_sampled_after_them():
    network = small_transformer()
    uniform = torch.rand(1, LENGTH, dtype=torch.float64)
    given = torch.where(torch.arange(LENGTH) % 3 == 0, -1, TOKENS[:1])
    found = sample_tokens(network, uniform, CONTEXT[:1], given=given)
    assert torch.equal(found[given >= 0], given[given >= 0])
    for place in range(0, LENGTH, 3):
        logits = network.next_logits(found, CONTEXT[:1])[:, place]
        assert torch.equal(found[:, place], choose(logits, uniform[:, place]))


@torch.no_grad()
def test_guidance_of_one_and_of_nothing_are_the_two_distributions():
    network = small_transformer()
    uniform = torch.rand(3, LENGTH, dtype=torch.float64)
    null = torch.zeros_like(CONTEXT)
    plain = sample_tokens(network, uniform, CONTEXT)
    assert torch.equal(sample_tokens(network, uniform, CONTEXT, null, 1.0 + 1e-9), plain)
    assert torch.equal(sample_tokens(network, uniform, CONTEXT, null, 0.0), sample_tokens(network, uniform, null))


@torch.no_grad()
def test_attention_reads_a_set_so_a_context_of_bare_values_does_not_say_whose_they_are():
    network, values = small_transformer(), torch.tensor([[0.2, 0.9]])
    bare = values[:, :, None].expand(-1, -1, 16)
    assert torch.allclose(
        network.next_logits(TOKENS[:1], bare), network.next_logits(TOKENS[:1], bare.flip(1)), atol=1e-5
    )
    own = bare * CONTEXT[:1]
    swapped = bare.flip(1) * CONTEXT[:1]
    assert not torch.allclose(network.next_logits(TOKENS[:1], own), network.next_logits(TOKENS[:1], swapped), atol=1e-2)


REFUSED = {(0, None): "temperature = 0", (1, 0): "top_k = 0", (1, 2.5): "top_k = 2.5", ("1", 3): "temperature = '1'"}


@pytest.mark.parametrize("settings", REFUSED)
def test_what_no_distribution_comes_from_is_refused(settings):
    with pytest.raises(UserError, match=REFUSED[settings]):
        check_sampling(*settings)
