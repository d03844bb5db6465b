"""The published scale of re-identification: its size, a training step, and the names of public weights."""

import pytest
import torch
from bundle_runs import ROOT

from synthzoo.bundle.compose import load_config
from synthzoo.errors import UserError
from synthzoo.networks.weights import load_weights
from synthzoo.systems.hidden_subspaces.network import to_own_range
from synthzoo.systems.hidden_subspaces.objective import ReidLoss
from synthzoo.systems.hidden_subspaces.published_weights import convert_reid

BUNDLE = ROOT / "bundles" / "echo_us_privacy_audit_reid"
PARAMETERS = 23_773_440  # of a torchvision ResNet-50 with 4 inputs and 128 outputs


def paper():
    return load_config(BUNDLE, ["paper"]).get_parsed_content("network_def")


def test_the_published_network_has_its_number_of_parameters():
    with torch.device("meta"):
        network = paper()
    assert sum(value.numel() for value in network.model.parameters()) == PARAMETERS
    assert network(torch.empty(2, 4, 14, 14, device="meta")).shape == (2, 128)


def test_a_training_step_at_the_published_scale_moves_the_weights():
    torch.manual_seed(0)
    config = load_config(BUNDLE, ["train", "paper"])
    assert config["train"]["objective"]["all_pairs"] == "@all_pairs" and config["all_pairs"] is False
    network = paper().train()
    optimizer = torch.optim.Adam(network.parameters(), config["learning_rate"])
    batch = {"image": torch.randn(4, 2, 4, 14, 14), "same": torch.tensor([1.0, 0, 1, 0]), "patient": torch.zeros(4, 2)}
    before = network.model.conv1.weight.detach().clone()
    loss = ReidLoss(all_pairs=False)(network, batch)["loss"]
    loss.backward()
    optimizer.step()
    assert torch.isfinite(loss) and not torch.equal(network.model.conv1.weight, before)


def public_state():
    """The published file's tensors, untrained: torchvision's ResNet-50 under `model.`, and `fc_end`."""
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(1)
    network = models.resnet50(weights=None)
    network.conv1 = torch.nn.Conv2d(4, 64, 7, 2, 3, bias=False)
    network.fc = torch.nn.Linear(2048, 128)
    network.eval()
    state = {f"model.{name}": value for name, value in network.state_dict().items()}
    return network, state | {"fc_end.weight": torch.randn(1, 128), "fc_end.bias": torch.randn(1)}


@pytest.mark.parametrize("prefix", ["", "module."])
def test_public_weights_give_the_same_embeddings_as_in_torchvision(tmp_path, prefix):
    original, state = public_state()
    path = tmp_path / "best_network.pth"
    torch.save({prefix + name: value for name, value in state.items()}, path)
    network = load_weights(paper(), path, map_keys=convert_reid)
    latents = torch.randn(3, 4, 14, 14)
    with torch.no_grad():
        torch.testing.assert_close(network(latents), torch.sigmoid(original(to_own_range(latents))))
        a, b = network(latents[:1]), network(latents[1:2])
        wanted = (a - b).abs() @ state["fc_end.weight"].T + state["fc_end.bias"]
        torch.testing.assert_close(network.logits(a, b), wanted)


def test_counters_that_old_files_lack_are_filled_in_and_other_files_are_refused():
    network, (_, state) = paper(), public_state()
    old = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    network.load_state_dict(convert_reid(old, network), strict=True)
    with pytest.raises(UserError, match="no re-identification"):
        convert_reid({"encoder.weight": torch.zeros(1)})
    with pytest.raises(UserError, match="of another shape"):
        convert_reid({**state, "model.fc.weight": torch.zeros(64, 2048)}, network)
