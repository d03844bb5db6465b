"""Re-identification as a metric: scores, recall and consistency on known embeddings, pairs of frames, and the loss."""

import numpy as np
import pytest
import torch

from synthzoo.errors import UserError
from synthzoo.evaluation.report import Report
from synthzoo.metrics import reidentification as rs
from synthzoo.networks.first_weights import with_first_weights
from synthzoo.systems.hidden_subspaces.evaluation import ReidEvaluation, grey_level_scores
from synthzoo.systems.hidden_subspaces.gallery import Gallery
from synthzoo.systems.hidden_subspaces.network import ReidNetwork, to_own_range
from synthzoo.systems.hidden_subspaces.objective import ReidLoss
from synthzoo.systems.hidden_subspaces.pairs import PatientPairs
from synthzoo.systems.hidden_subspaces.videos import PhantomVideos


def small_network(**kwargs):
    torch.manual_seed(0)
    return ReidNetwork(widths=(4, 8, 8, 8), embedding=16, first_size=3, max_pool=False, **kwargs).eval()


def test_the_vectorised_head_gives_what_each_pair_gives_alone_whatever_the_signs_of_its_weights():
    network = small_network()
    with torch.no_grad():
        network.fc_end.weight.copy_(torch.randn(1, 16))
        queries, references = torch.rand(5, 16), torch.rand(7, 16)
        alone = torch.stack([torch.stack([network.head(q, r) for r in references]) for q in queries])
        torch.testing.assert_close(network.logits(queries, references), alone, atol=1e-5, rtol=1e-5)


def test_brightness_and_contrast_of_a_frame_do_not_change_its_embedding():
    network, frames = small_network(), torch.rand(3, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(network(frames), network(frames * 40 - 7), atol=1e-5, rtol=1e-4)
    assert to_own_range(torch.full((1, 1, 4, 4), 3.0)).eq(-1).all()


def test_nearest_memorised_and_learned_follow_their_definitions():
    scores = np.array([[1.0, 5.0, 0.0], [4.0, 2.0, 0.0], [0.5, 6.0, 0.0], [-1.0, 0.0, -2.0]])
    best, found = rs.nearest(scores)
    assert best.tolist() == [5, 4, 6, 0] and found.tolist() == [1, 0, 1, 1]
    assert rs.memorised_share(best, 4.5) == 0.5
    assert rs.learned_share(found, 3) == pytest.approx(2 / 3)
    assert rs.learned_share(found[:1], 3) == 1, "one query can reach one training video at most"
    assert rs.learned_share(found, 1, patients=["a", "a", "b"]) == 1, "two videos of one patient are one patient"
    assert rs.largest_hub(found) == 3


def test_the_threshold_lets_five_of_a_hundred_unseen_videos_through():
    best = np.random.default_rng(0).normal(size=1000)
    assert rs.memorised_share(best, rs.unseen_threshold(best)) == pytest.approx(0.05, abs=0.002)
    with pytest.raises(UserError, match="19 videos of unseen patients: a threshold needs at least 20"):
        rs.unseen_threshold(best[:19])


def test_recall_is_the_share_of_patients_that_a_perfect_metric_sees_again():
    embeddings = np.random.default_rng(0).random((50, 8))
    for count in (5, 25, 50):
        queries = np.repeat(embeddings[:count], 20, 0)
        scores = -np.abs(queries[:, None] - embeddings[None]).sum(-1)
        _, found = rs.nearest(scores)
        assert rs.learned_share(found, 50) == count / 50


def test_a_change_of_patient_is_found_at_its_frame_and_nowhere_else():
    rng = np.random.default_rng(0)
    steady = 3 + 0.5 * rng.standard_normal(40)
    for place in (3, 20, 37):
        curve = np.where(np.arange(40) < place, steady, steady - 12)
        assert rs.identity_break(curve, least=-2) == place
    assert rs.identity_break(steady, least=-2) is None
    assert rs.identity_break(np.where(np.arange(40) < 20, steady, steady - 3), least=-2) is None, "a dip is no change"
    assert rs.identity_break(np.r_[3, steady[1:] - 12], least=-2) is None, "nothing holds together here"
    assert rs.identity_break(steady[:1], least=-2) is None


def test_the_area_under_the_curve_is_that_of_the_curve_and_of_all_pairs():
    rng = np.random.default_rng(0)
    positives, negatives = rng.integers(0, 9, 40) + 2.0, rng.integers(0, 9, 60).astype(float)
    pairs = (positives[:, None] > negatives) + 0.5 * (positives[:, None] == negatives)
    false, true = rs.roc(positives, negatives)
    assert rs.auc(positives, negatives) == pytest.approx(pairs.mean())
    assert np.sum(np.diff(false) * (true[1:] + true[:-1]) / 2) == pytest.approx(pairs.mean())
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    low, high = rs.auc_interval(positives, negatives, draws=200)
    assert low < pairs.mean() < high


def test_the_floor_is_the_correlation_of_raw_pixels():
    images = np.random.default_rng(0).random((3, 1, 5, 5))
    assert np.allclose(rs.pixel_scores(images, images), np.corrcoef(images.reshape(3, -1)))


# --- pairs ------------------------------------------------------------------------------------------------------------


class Numbered:
    """Videos whose every pixel says which video and frame it is: 10 video + frame."""

    def __init__(self, patients, length=4):
        self.patients, self.length = np.array(patients), length

    def frames(self, row, which):
        return torch.stack([torch.full((1, 2, 2), 10.0 * row + n) for n in which(self.length)])


def test_grey_levels_know_nothing_of_places():
    frames = np.random.default_rng(0).random((3, 1, 4, 4))
    turned = frames[:, :, ::-1, ::-1]
    scores = grey_level_scores(frames, turned)
    assert scores.shape == (3, 3) and np.allclose(np.diag(scores), 0) and (scores.argmax(1) == np.arange(3)).all()


def test_first_weights_are_drawn_again_for_a_seed_and_the_network_keeps_its_own():
    network = small_network().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.random.get_rng_state()
    one, same, other = (with_first_weights(network, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state) and not one.training and network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    weights = [each.model.conv1.weight for each in (one, same, other, network)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2]) and not torch.equal(weights[0], weights[3])


def test_patients_are_told_apart_beside_rows_that_were_never_trained(tmp_path):
    shared = {"report": Report(tmp_path / "metrics.json"), "work_dir": tmp_path, "parts": ["areas"]}
    evaluation = ReidEvaluation(small_network().eval(), training=4, unseen=4, pairs=6, draws=20, **shared)
    written = evaluation.run()
    methods = [row[2] for row in written["tables"][0]["rows"]]
    assert methods == ["re-identification", "raw pixels", "grey levels, no place", "first weights"] * 4
    ends = ("", "_raw_pixels", "_grey_levels", "_first_weights")
    assert all(0 <= written["figures"][f"auc_cross_session{end}"] <= 1 for end in ends)


def origin(item):
    """Videos and frames of the two images of a pair."""
    return [divmod(int(value), 10) for value in item["image"][:, 0, 0, 0]]


def test_pairs_within_a_video_are_two_frames_of_it_and_pairs_across_sessions_two_videos_of_a_patient():
    videos = Numbered([7, 7, 8, 8, 9])
    for n in range(60):
        (video, frame), (other, later) = origin(PatientPairs(videos, "within_video", positives=1)[n % 3])
        assert video == other and frame != later
        (video, _), (other, _) = origin(PatientPairs(videos, "cross_session", positives=1)[n % 2])
        assert video != other and videos.patients[video] == videos.patients[other]
    seen = [origin(PatientPairs(videos, "both", positives=1)[0]) for _ in range(60)]
    assert {first[0] == second[0] for first, second in seen} == {True, False}


def test_the_label_says_whether_the_patients_are_one_and_half_of_the_pairs_are():
    videos = Numbered([7, 7, 8, 9])
    items = [PatientPairs(videos)[n % 3] for n in range(400)]
    for item in items:
        owners = [videos.patients[video] for video, _ in origin(item)]
        assert (owners[0] == owners[1]) == bool(item["same"]) == (item["patient"][0] == item["patient"][1])
    assert 0.4 < np.mean([float(item["same"]) for item in items]) < 0.6


def test_workers_draw_different_pairs_and_one_seed_draws_the_same():
    pairs = PatientPairs(Numbered([1, 2], length=9), "within_video", positives=1)
    torch.manual_seed(3)
    loader = torch.utils.data.DataLoader(pairs, batch_size=1, sampler=[0] * 16, num_workers=2)
    drawn = [tuple(batch["image"][0, :, 0, 0, 0].tolist()) for batch in loader]
    assert drawn[0::2] != drawn[1::2], "both workers drew the same pairs"
    first, second = (torch.manual_seed(5) and pairs[0]["image"] for _ in range(2))
    assert torch.equal(first, second)


def test_too_few_patients_and_unknown_modes_are_told():
    with pytest.raises(UserError, match="1 patients with 2 or more videos"):
        PatientPairs(Numbered([1, 1, 2]), "cross_session")
    with pytest.raises(UserError, match="mode = 'any'"):
        PatientPairs(Numbered([1, 2]), "any")


# --- loss and gallery -------------------------------------------------------------------------------------------------


def test_the_published_loss_is_the_cross_entropy_of_each_pair():
    network = small_network()
    batch = {"image": torch.rand(6, 2, 1, 32, 32), "same": torch.tensor([1.0, 0, 1, 0, 0, 1])}
    batch["patient"] = torch.stack([torch.arange(6), torch.where(batch["same"] > 0, torch.arange(6), 9)], 1)
    found = ReidLoss(all_pairs=False)(network, batch)["loss"]
    logits = network.head(network(batch["image"][:, 0]), network(batch["image"][:, 1]))
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(logits, batch["same"])
    torch.testing.assert_close(found, wanted)


def test_a_few_steps_on_phantoms_lower_both_losses():
    videos = PhantomVideos("tiny", patients=16, sessions=2)
    loader = torch.utils.data.DataLoader(PatientPairs(videos, positives=1.0), batch_size=16)
    for loss in (ReidLoss(), ReidLoss(all_pairs=False)):
        network = small_network().train()
        optimizer = torch.optim.Adam(network.parameters(), 5e-3)
        values = []
        for _ in range(8):
            for batch in loader:
                value = loss(network, batch)["loss"]
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
                values.append(float(value.detach()))
        assert np.mean(values[-2:]) < values[0]


def test_a_video_of_two_patients_is_compared_part_by_part():
    network = small_network()
    network.logits = lambda q, r: 10 - 100 * torch.cdist(q, r, p=1)
    gallery = Gallery(PhantomVideos("tiny", patients=3), threshold=0.0, frames=2).fit(network)
    gallery.embeddings, gallery.different = torch.eye(16)[:3], 0.0
    found = gallery.audit(torch.eye(16)[[2] * 6 + [0] * 6])
    assert found["identity_break"] == 6
    assert [part["nearest"] for part in found["parts"]] == [2, 0] and found["score"] == 10


def test_a_gallery_without_unseen_patients_asks_for_them_or_for_a_threshold():
    with pytest.raises(UserError, match="unseen_dir is empty"):
        Gallery(PhantomVideos("tiny", patients=3))
