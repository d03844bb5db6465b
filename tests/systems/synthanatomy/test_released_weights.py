"""The VQ-VAEs among the published files load and compute what their authors' network computes.

`Released` is that network in plain torch, by its tensors' names: levels of convolution, ReLU and residual units whose
second convolution has one voxel, and a codebook. A file is what ignite's `CheckpointSaver` writes of it.
"""

import pytest
import torch
from torch import nn

from synthzoo.errors import UserError
from synthzoo.networks.codebook import CodebookAutoencoder
from synthzoo.networks.token_images import TokenImages
from synthzoo.networks.token_transformer import TokenTransformer
from synthzoo.systems.synthanatomy.published_weights import autoencoder_state, composite_state, read_released

CODES, WIDTH = 16, 4
FULL = {"width": 256, "levels": 4, "units": 3, "codes": 2048, "embedding": 32}


class Unit(nn.Sequential):
    def __init__(self, width):
        super().__init__(nn.Conv3d(width, width, 3, padding=1), nn.ReLU(), nn.Dropout3d(0), nn.Conv3d(width, width, 1))

    def forward(self, x):
        return torch.relu(x + super().forward(x))


class Codes(nn.Module):
    def __init__(self, codes, embedding):
        super().__init__()
        self.embedding = nn.Embedding(codes, embedding)
        self.weight = self.embedding.weight
        self.register_buffer("N", torch.rand(codes))
        self.register_buffer("embed_avg", torch.rand(codes, embedding))


class Quantizer(nn.Module):
    def __init__(self, codes, embedding):
        super().__init__()
        self.impl = Codes(codes, embedding)


class Released(nn.Module):
    def __init__(self, width=16, levels=2, units=2, codes=CODES, embedding=WIDTH):
        super().__init__()
        widths = [width // 2] * (levels - 1) + [width]
        parts, before = [], 1
        for own in widths:
            parts += [nn.Conv3d(before, own, 4, 2, 1), nn.ReLU(), nn.Sequential(*(Unit(own) for _ in range(units)))]
            before = own
        self.encoder = nn.ModuleList([nn.Sequential(*parts, nn.Conv3d(width, embedding, 3, padding=1))])
        self.quantizer = nn.ModuleList([Quantizer(codes, embedding)])
        parts = [nn.Conv3d(embedding, width, 3, padding=1)]
        for own, after in zip(widths[::-1], [*widths[-2::-1], 1]):
            parts += [
                nn.Sequential(*(Unit(own) for _ in range(units))),
                nn.ConvTranspose3d(own, after, 4, 2, 1),
                nn.ReLU(),
            ]
        self.decoder = nn.ModuleList([nn.Sequential(*parts[:-1])])

    def forward(self, image):
        z = self.encoder[0](image)
        flat = z.movedim(1, -1).reshape(-1, z.shape[1])
        tokens = torch.cdist(flat, self.quantizer[0].impl.weight).argmin(1).reshape(len(z), *z.shape[2:])
        return tokens, self.decoder[0](self.quantizer[0].impl.embedding(tokens).movedim(-1, 1))


def ours(width=16, levels=2, units=2, codes=CODES, embedding=WIDTH, residual_kernel=1) -> CodebookAutoencoder:
    widths = [width // 2] * (levels - 1) + [width]
    sizes = {"channels": widths, "num_res_channels": widths, "num_res_layers": units, "num_embeddings": codes}
    sizes |= {"downsample_parameters": ((2, 4, 1, 1),) * levels, "upsample_parameters": ((2, 4, 1, 1, 0),) * levels}
    return CodebookAutoencoder(
        residual_kernel, spatial_dims=3, in_channels=1, out_channels=1, embedding_dim=embedding, **sizes
    )


@pytest.fixture(scope="module")
def released() -> Released:
    torch.manual_seed(0)
    network = Released().eval()
    with torch.no_grad():  # codes in the midst of what the encoder gives, or one of them would take all
        vectors = network.encoder[0](torch.rand(1, 1, 12, 16, 8)).movedim(1, -1).reshape(-1, WIDTH)
        network.quantizer[0].impl.weight.copy_(vectors[torch.randperm(len(vectors))[:CODES]])
    return network


def checkpoint(network, path, prefix=""):
    """What ignite writes: the network beside optimiser and trainer, `module.` before its names under DDP."""
    state = {prefix + name: value for name, value in network.state_dict().items()}
    optimizer = torch.optim.Adam(network.parameters()).state_dict()
    torch.save({"network": state, "optimizer": optimizer, "trainer": {"iteration": 7, "epoch_length": 3}}, path)
    return path


@pytest.mark.parametrize("prefix", ["", "module."])
@torch.no_grad()
def test_a_released_file_gives_the_codes_and_images_of_its_authors_network(released, tmp_path, prefix):
    state = autoencoder_state(read_released(checkpoint(released, tmp_path / "net.pt", prefix)))
    network = ours().eval()
    network.load_state_dict(state, strict=True)
    image = torch.rand(2, 1, 12, 16, 8)
    tokens, restored = released(image)
    assert torch.equal(network.encode_tokens(image), tokens) and tokens.unique().numel() > 3
    assert torch.allclose(network.decode_tokens(tokens), restored, atol=1e-6)


def test_at_full_width_every_name_and_shape_is_the_networks():
    with torch.device("meta"):
        state, network = autoencoder_state(Released(**FULL).state_dict()), ours(**FULL)
    own = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert {name: tuple(value.shape) for name, value in state.items()} == own


def test_it_becomes_stage_one_of_a_whole_network(released):
    transformer = TokenTransformer(CODES + 1, 12, attn_layers_dim=8, attn_layers_depth=1, attn_layers_heads=2)
    network = TokenImages(ours(), transformer, (3, 2, 2))
    state = composite_state(released.state_dict(), network)
    network.load_state_dict(state, strict=True)
    assert torch.equal(network.autoencoder.quantizer.quantizer.ema_cluster_size, released.quantizer[0].impl.N)
    wrong = TokenImages(ours(residual_kernel=3), transformer, (3, 2, 2))
    with pytest.raises(UserError, match="belong to another network than CodebookAutoencoder"):
        composite_state(released.state_dict(), wrong)


def test_a_transformer_of_theirs_and_foreign_files_are_told(released, tmp_path):
    performer = {"module.performer.net.layers.0.0.g": torch.ones(1), "module.token_emb.weight": torch.ones(3, 2)}
    torch.save({"network": performer}, tmp_path / "performer.pt")
    with pytest.raises(UserError, match="a Performer, which no MONAI network can hold; give one of the two VQ-VAE"):
        read_released(tmp_path / "performer.pt")
    with pytest.raises(UserError, match="discriminator.weight is no tensor of a VQ-VAE of SynthAnatomy"):
        autoencoder_state({**released.state_dict(), "discriminator.weight": torch.ones(1)})
    with pytest.raises(UserError, match="holds no residual unit"):
        autoencoder_state({"conv.weight": torch.ones(1)})
    torch.save({"network": {"a": print}}, tmp_path / "code.pt")
    with pytest.raises(UserError, match="not a file of plain tensors"):
        read_released(tmp_path / "code.pt")
