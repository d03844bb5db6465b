"""A request gives one image, in whatever batch or chunk it is sampled, with fresh noise along the way too."""

from functools import partial

import pytest
import torch

from synthzoo.diffusion.schedule import NoiseSchedule
from synthzoo.errors import UserError
from synthzoo.inferers.synthesis import SynthesisInferer

SHAPE = (2, 3, 4, 3)


class Network:
    """A denoiser that uses every input and no statistic of the batch; decoding is the mean over channels."""

    conditions, schedule = (0,), NoiseSchedule(prediction="v")

    def denoise(self, x, t, conditions):
        return (
            0.3 * x + 0.1 * torch.nan_to_num(conditions)[:, :, None, None, None] + 1e-4 * t[:, None, None, None, None]
        )

    def decode(self, latent, roi):
        return torch.sigmoid(latent.mean(1, keepdim=True))


NOISE = torch.stack([torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed)) for seed in range(5)])
CONDITIONS = torch.tensor([[0.0], [1.0], [float("nan")], [2.0], [3.0]])


def sample(rows, eta=0.7, **kwargs):
    return SynthesisInferer("ddim", 6, eta=eta, **kwargs)(NOISE[rows], Network(), conditions=CONDITIONS[rows])


def test_fresh_noise_belongs_to_the_request_and_not_to_its_batch():
    # The noise is the same to the bit; a processor's vector units round the last voxels of a batch another way.
    same = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-6)
    whole = sample([0, 1, 2, 3, 4])
    same(whole, torch.cat([sample([row]) for row in range(5)]))
    same(whole[[3, 1]], sample([3, 1]))
    same(whole, sample([0, 1, 2, 3, 4], chunk=2))


def test_fresh_noise_is_fresh():
    plain, fresh = sample([0, 1], eta=0.0), sample([0, 1])
    assert not torch.equal(plain, fresh) and not torch.equal(fresh, sample([0, 1], seed=1))
    assert torch.equal(fresh, sample([0, 1], seed=0))
    twins = SynthesisInferer("ddim", 6, eta=1.0)(NOISE[:2], Network(), conditions=CONDITIONS[[1, 1]])
    added = twins - SynthesisInferer("ddim", 6)(NOISE[:2], Network(), conditions=CONDITIONS[[1, 1]])
    assert float(torch.corrcoef(added.flatten(1))[0, 1].abs()) < 0.6, "two rows draw different noise"


@pytest.mark.parametrize("settings", [{"eta": 1.5}, {"eta": -0.1}, {"sampler": "dpm_solver", "eta": 0.5}])
def test_an_eta_that_would_not_be_used_as_requested_is_refused(settings):
    with pytest.raises(UserError, match="eta = .* between 0 and 1, and only ddim takes it"):
        SynthesisInferer(**{"sampler": "ddim", **settings})
