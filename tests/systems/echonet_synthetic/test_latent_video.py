"""Videos in two steps, a heart and its motion: the network, the filter between them, long videos, and the losses."""

import json
import math

import numpy as np
import pytest
import torch
from monai.data import decollate_batch
from small_video_model import small_video_model

from synthzoo.datasets.echo.clip_frames import ClipFrames
from synthzoo.datasets.echo.training_clips import training_clips
from synthzoo.errors import UserError
from synthzoo.inferers.outputs import SpreadOutputsd
from synthzoo.networks.latent_images import GreyAutoencoder
from synthzoo.objectives.autoencoder import AutoencoderObjective
from synthzoo.objectives.part import PartObjective
from synthzoo.systems.echonet_synthetic.inferer import LatentVideoInferer
from synthzoo.systems.echonet_synthetic.latents import LatentClips, LatentStills
from synthzoo.systems.echonet_synthetic.objective import ClipDiffusionObjective
from synthzoo.systems.echonet_synthetic.privacy_filter import FilterCalibration, best_scores
from synthzoo.systems.hidden_subspaces.objective import ReidLoss
from synthzoo.systems.hidden_subspaces.pairs import PatientPairs
from synthzoo.systems.jvid.sampler import frame_by_frame


@pytest.fixture(scope="module")
def clips():
    return training_clips(patients=24)


@pytest.fixture(scope="module")
def fitted(clips):
    """A small network whose filter knows 12 patients and was set by 20 others, and the training videos' latents."""
    network = small_video_model()
    training = LatentClips(network, torch.utils.data.Subset(clips, range(12)))
    unseen = LatentClips(network, training_clips(patients=20, split="validation"))
    FilterCalibration(network, training, unseen).run()
    return network, training, unseen


def noise(rows=2, frames=16, seed=1):
    return torch.randn(rows, 3, 1 + frames, 16, 16, generator=torch.Generator().manual_seed(seed))


# --- the network ------------------------------------------------------------------------------------------------------


def test_one_tensor_of_noise_becomes_one_video_and_the_same_one_when_traced():
    network, start = small_video_model(), noise(1)
    with torch.no_grad():
        video = network(start)
        traced = torch.jit.trace(network, start, check_trace=False)
        assert video.shape == (1, 1, 16, 32, 32) and 0 <= float(video.min()) <= float(video.max()) <= 1
        assert torch.allclose(traced(start), video, atol=1e-5)


def test_latents_have_no_mean_and_unit_variance_and_decode_to_what_the_autoencoder_gives(fitted, clips):
    network, training, _ = fitted
    assert torch.allclose(training.latents.mean((0, 2, 3, 4)), torch.zeros(3), atol=1e-4)
    assert float(training.latents.pow(2).mean()) == pytest.approx(1, abs=1e-3)
    video = clips[3]["video"].transpose(0, 1)
    with torch.no_grad():
        again = network.decode(training.latents[3:4])[0].transpose(0, 1)
        assert torch.allclose(again, network.autoencoder(video), atol=1e-4)
        assert torch.allclose(network.encode(video), training.frames(3), atol=1e-4)


def test_the_statistics_are_measured_once(clips):
    network = small_video_model()
    LatentClips(network, torch.utils.data.Subset(clips, range(4)))
    first = network.scale_factor.clone()
    LatentClips(network, torch.utils.data.Subset(clips, range(4, 12)))
    assert torch.equal(network.scale_factor, first) and bool(network.fitted)


def test_the_image_denoiser_sees_a_clip_as_stills_so_that_it_may_take_over_from_the_video_denoiser():
    network, x, t = small_video_model(), noise(2)[:, :, 1:], torch.tensor([10, 800])
    with torch.no_grad():
        whole = network.image.denoise(x, t)
        one = network.image.denoise(x[:, :, 5], t)
        folded = frame_by_frame(network.image.denoise)(x, t)
    assert torch.allclose(whole[:, :, 5], one, atol=1e-5) and torch.allclose(folded, whole, atol=1e-5)
    assert network.image.schedule is network.video.schedule is network.schedule


def test_grey_frames_pass_an_autoencoder_of_three_channels():
    class Three(torch.nn.Module):
        def encode(self, x):
            return x, torch.ones_like(x)

        def decode(self, z):
            return z

    frames = torch.rand(4, 1, 8, 8)
    wrapped = GreyAutoencoder(Three(), channels=3)
    assert wrapped.encode(frames)[0].shape == (4, 3, 8, 8)
    assert torch.allclose(wrapped(frames), frames, atol=1e-6)


# --- the filter -------------------------------------------------------------------------------------------------------


def test_copies_of_training_latents_are_nearest_to_their_own_patient_and_rejected(fitted):
    network, training, _ = fitted
    copies = training.latents[:, :, 0]
    with torch.no_grad():
        scores, nearest = network.nearest_patient(copies)
    assert np.array_equal(nearest.numpy(), training.patients)
    assert (scores > network.threshold).all()


def test_the_threshold_turns_one_unseen_patient_in_twenty_down(fitted):
    network, _, unseen = fitted
    scores = best_scores(network, unseen.latents[:, :, 0])
    assert (scores > float(network.threshold)).mean() == pytest.approx(0.05, abs=0.001)


def test_a_gallery_that_is_too_small_and_a_filter_without_one_are_told(clips):
    network = small_video_model(gallery=2)
    training = LatentClips(network, torch.utils.data.Subset(clips, range(3)))
    with pytest.raises(UserError, match=r"run calibrate_filter.json, or set filter to false\.$"):
        network.nearest_patient(training.latents[:, :, 0])
    with pytest.raises(UserError, match=r"gallery = 2: .* 3 or more"):
        FilterCalibration(network, training, training).run()
    with pytest.raises(UserError, match=r"at least 20"):
        FilterCalibration(small_video_model(), training, training).run()


# --- sampling ---------------------------------------------------------------------------------------------------------


def test_a_request_gives_one_video_in_whatever_batch_it_is(fitted):
    network, start, ef = fitted[0], noise(3), torch.tensor([[20.0], [50.0], [float("nan")]])
    for inferer in (LatentVideoInferer(steps=2, eta=1.0), LatentVideoInferer("dpm_solver", steps=2)):
        whole = inferer(start, network, ef)
        alone = inferer(start[1:2], network, ef[1:2])
        assert whole["pred"].shape == (3, 1, 16, 32, 32)
        assert torch.allclose(whole["pred"][1:2], alone["pred"], atol=1e-4)
        for name, value in alone["privacy"].items():
            assert torch.allclose(whole["privacy"][name][1:2], value, atol=1e-4)


def test_references_that_are_too_near_a_patient_are_sampled_again_and_each_says_so(fitted):
    network = fitted[0]
    inferer, start = LatentVideoInferer(steps=2, attempts=50), noise(6)
    plain = LatentVideoInferer(steps=2, filter=False).sample_references(start[:, :, 0], network)
    with torch.no_grad():
        scores = network.nearest_patient(plain.latents)[0]
    kept = network.threshold.clone()
    try:
        network.threshold.fill_(float(scores.median()))  # about half of them are too near now
        found = inferer.sample_references(start[:, :, 0], network)
        assert max(found.scores) <= float(network.threshold)
        changed = [not torch.equal(a, b) for a, b in zip(found.latents, plain.latents)]
        assert changed == [len(scores) > 0 for scores in found.rejected] and 0 < sum(changed) < 6
        (row,) = decollate_batch({"pred": inferer(start[:1], network, torch.tensor([[40.0]]))})
        video = SpreadOutputsd("pred")(row)
        assert video["pred"].shape == (1, 16, 32, 32)
        assert video["privacy"]["n_attempts"] == 1 + len(found.rejected[0])
        assert json.loads(json.dumps(video["privacy"])) == video["privacy"]
        assert video["privacy"]["score"] == pytest.approx(found.scores[0], abs=1e-3)
        network.threshold.fill_(-1e4)
        with pytest.raises(UserError, match=r"^attempts = 3: every reference .* calibrate_filter.json\.$"):
            LatentVideoInferer(steps=2, attempts=3).sample_references(start[:1, :, 0], network)
    finally:
        network.threshold.copy_(kept)


def test_without_filter_there_are_no_privacy_facts(fitted):
    videos = LatentVideoInferer(steps=2, filter=False)(noise(2), fitted[0], torch.tensor([[40.0], [50.0]]))
    rows = [SpreadOutputsd("pred")(row) for row in decollate_batch({"pred": videos})]
    assert [row["privacy"] for row in rows] == [None, None] and rows[1]["pred"].shape == (1, 16, 32, 32)


@pytest.mark.parametrize("frames", [17, 24, 48])
def test_long_videos_of_even_and_odd_length_are_stitched(fitted, frames):
    videos = LatentVideoInferer(steps=2, filter=False)(noise(1, frames), fitted[0], torch.tensor([[40.0]]))["pred"]
    assert videos.shape == (1, 1, frames, 32, 32) and torch.isfinite(videos).all()


@pytest.mark.parametrize(
    ("settings", "frames", "sentence"),
    [
        ({}, 7, r"frames = 7: this network makes at least 16\."),
        ({"overlap": 16}, 20, r"overlap = 16: windows of 16 frames overlap by 0 to 15\."),
        ({"steps": 0}, 16, r"steps = 0: an integer of at least 1"),
        ({"attempts": 1.5}, 16, r"attempts = 1\.5: an integer"),
        ({"sampler": "euler"}, 16, r"sampler = 'euler'"),
        ({"sampler": "dpm_solver", "eta": 1.0}, 16, r"only ddim takes it"),
    ],
)
def test_settings_that_cannot_be_are_told_in_one_sentence(fitted, settings, frames, sentence):
    with pytest.raises(UserError, match=sentence):
        LatentVideoInferer(**{"steps": 2, "filter": False, **settings})(noise(1, frames), fitted[0], None)


# --- training ---------------------------------------------------------------------------------------------------------


def test_each_stage_has_a_loss_whose_gradient_reaches_its_part_alone(fitted, clips):
    network, training, _ = fitted
    frames = ClipFrames(clips)
    pairs = PatientPairs(training, positives=1.0, noise=0.1)
    stages = {
        "autoencoder": (AutoencoderObjective(edge_weight=0.1), [frames[row] for row in range(4)]),
        "image": (
            ClipDiffusionObjective("image", takes_image=False, drop_all=0.0),
            [LatentStills(training)[row] for row in range(4)],
        ),
        "video": (ClipDiffusionObjective("video", noise_offset=0.1), [training[row] for row in range(4)]),
        "reid": (PartObjective(ReidLoss(), "reid"), [pairs[row] for row in range(4)]),
    }
    for part, (objective, rows) in stages.items():
        batch = torch.utils.data.default_collate(rows)
        network.zero_grad(set_to_none=True)
        loss = objective(network, batch)["loss"]
        loss.backward()
        reached = {name.split(".")[0] for name, p in network.named_parameters() if p.grad is not None}
        assert math.isfinite(float(loss.detach())) and reached == {part}
    network.zero_grad(set_to_none=True)
    shown = AutoencoderObjective().images(network, torch.utils.data.default_collate([frames[0], frames[1]]))
    assert shown["reconstruction"].shape == (1, 32, 64)


def test_latents_are_kept_beside_cached_videos_by_the_weights_that_made_them(tmp_path):
    network = small_video_model()
    videos = training_clips(patients=2, cache_dir=tmp_path)
    first = LatentClips(network, videos)
    kept = list(tmp_path.glob("*/latents-*.pt"))
    assert len(kept) == 1
    stamp = kept[0].stat().st_mtime_ns
    assert torch.equal(LatentClips(network, videos).latents, first.latents) and kept[0].stat().st_mtime_ns == stamp
    torch.nn.init.normal_(next(network.autoencoder.parameters()))
    LatentClips(network, videos)
    assert len(list(tmp_path.glob("*/latents-*.pt"))) == 2


def test_validation_and_test_patients_are_others_than_those_of_training():
    owners = [training_clips(patients=3, split=split)[0]["patient"] for split in ("train", "validation", "test")]
    assert len(set(owners)) == 3
    with pytest.raises(UserError, match="split = 'all': clips are of train, validation, test"):
        training_clips(split="all")
