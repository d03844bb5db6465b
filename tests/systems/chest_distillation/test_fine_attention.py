"""The U-Net with cross-attention at its largest size, and levels of noise that lean to low ones."""

import pytest
import torch

from synthzoo.errors import UserError
from synthzoo.networks.cross_attention import attention_layers, recorded
from synthzoo.networks.word_tokens import WordTokenizer
from synthzoo.objectives.text_diffusion import TextDiffusionObjective
from synthzoo.systems.chest_distillation.network import LARGEST, NoAttention, fine_unet
from synthzoo.systems.chest_distillation.phrases import phrase_rows

SETTINGS = {
    "in_channels": 2,
    "out_channels": 2,
    "channels": [16, 16, 16],
    "num_res_blocks": [1, 1, 1],
    "attention_levels": [True, True, True],
    "norm_num_groups": 8,
    "num_head_channels": [8, 8, 8],
    "cross_attention_dim": 8,
}


def test_the_largest_size_has_cross_attention_without_self_attention():
    torch.manual_seed(0)
    unet = fine_unet(**SETTINGS)
    for name, module in unet.named_modules():
        if hasattr(module, "attn1"):
            assert isinstance(module.attn1, NoAttention) == name.startswith(LARGEST)
    layers = attention_layers(unet)
    assert {name.split(".attentions")[0] for name in layers} >= set(LARGEST)
    with recorded(layers):
        unet(torch.randn(1, 2, 16, 16), torch.tensor([3]), context=torch.randn(1, 5, 8))
        assert layers["up_blocks.2.attentions.0.0"].att_mat.shape == (1, 2, 256, 5)
        assert layers["up_blocks.0.attentions.0.0"].att_mat.shape == (1, 2, 16, 5)


@pytest.mark.parametrize("levels, lean, mean", [(1.0, 1.0, 49.5), (0.5, 1.0, 24.5), (1.0, 2.0, 32.8)])
def test_levels_are_drawn_up_to_a_share_and_lean_to_low_ones(levels, lean, mean):
    torch.manual_seed(0)
    drawn = TextDiffusionObjective(levels, lean).draw(20000, 100).float()
    assert drawn.min() == 0 and drawn.max() <= 100 * levels - 1
    assert float(drawn.mean()) == pytest.approx(mean, abs=0.7)


def test_phrases_are_read_of_a_folder_with_its_format_alone():
    tokenizer = WordTokenizer(["nodule"])
    assert phrase_rows(tokenizer) is None
    with pytest.raises(UserError, match="add --data_format mscxr"):
        phrase_rows(tokenizer, "somewhere")
    with pytest.raises(UserError, match="dataset_dir is empty"):
        phrase_rows(tokenizer, "", "mscxr")
