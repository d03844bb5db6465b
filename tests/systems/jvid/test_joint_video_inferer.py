"""Videos by an image and a video denoiser in turns, at the level of the inferer that a bundle uses."""

import pytest
import torch
from small_video_model import small_video_model

from synthzoo.errors import UserError
from synthzoo.systems.echonet_synthetic.inferer import LatentVideoInferer
from synthzoo.systems.jvid.inferer import JointVideoInferer

EF = torch.tensor([[30.0], [float("nan")], [70.0]])


@pytest.fixture(scope="module")
def network():
    return small_video_model(filtered=False)


def noise(rows=3, frames=16):
    return torch.randn(rows, 3, 1 + frames, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_with_no_step_for_the_image_denoiser_it_is_the_plain_latent_video_model_bit_for_bit(network, eta):
    joint = JointVideoInferer("all_v", steps=3, eta=eta)
    plain = LatentVideoInferer("ddim", steps=3, guidance=1.5, eta=eta, filter=False)
    start, references = noise()[:, :, 1:], noise()[:, :, 0]
    videos = [inferer.generate_video(references, start, EF, network) for inferer in (joint, plain)]
    assert torch.equal(*videos) and videos[0].shape == (3, 1, 16, 32, 32)


def test_with_all_steps_for_the_image_denoiser_the_ejection_fraction_changes_nothing(network):
    def videos(rule, ef):
        return JointVideoInferer(rule, steps=2)(noise(), network, ef)["pred"]

    assert torch.equal(videos("all_i", EF), videos("all_i", EF.flip(0)))
    assert not torch.equal(videos("late(1)", EF), videos("late(1)", EF.flip(0)))


@pytest.mark.parametrize("settings", [{"eta": 1.0}, {"blur": 1.0}, {"chunk": 5}])
def test_a_request_gives_one_video_in_whatever_batch_it_is(network, settings):
    joint = JointVideoInferer("early(0.4)+late(1)", steps=4, **settings)
    together = joint(noise(), network, EF)["pred"]
    alone = torch.cat([joint(noise()[n : n + 1], network, EF[n : n + 1])["pred"] for n in range(3)])
    assert torch.allclose(together, alone, atol=1e-4)
    assert float(together.min()) >= 0 and float(together.max()) <= 1


def test_a_longer_video_is_stitched_at_the_steps_of_the_video_denoiser(network):
    video = JointVideoInferer("late(1)", steps=2)(noise(1, 23), network, EF[:1])["pred"]
    assert video.shape == (1, 1, 23, 32, 32)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"switch": "sometimes"}, "switch = 'sometimes'"),
        ({"switch": "late(9)", "steps": 4}, "there is no step"),
        ({"blur": 0}, "blur = 0"),
        ({"eta": 2}, "eta = 2"),
        ({"steps": 0}, "steps = 0"),
    ],
)
def test_settings_that_cannot_be_are_told_in_one_sentence(settings, sentence):
    with pytest.raises(UserError, match="^[^\n]*$") as caught:
        JointVideoInferer(**settings)
    assert sentence in str(caught.value)


def test_a_network_without_a_filter_says_so_when_it_is_requested_to_filter(network):
    with pytest.raises(UserError, match="set filter to false"):
        LatentVideoInferer(steps=1)(noise(1), network, EF[:1])
