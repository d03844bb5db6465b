"""Brain extraction beside atlas masks: each is as good as what it knows."""

import numpy as np
import pytest
import torch
from scipy import ndimage as ndi

from synthzoo.evaluation.brain_extraction import TITLES, brain_masks, measure_extraction, middle
from synthzoo.instruments.brain.template_fit import template_maps


class Exact(torch.nn.Module):
    """An extractor that knows: brains have 1, what surrounds them 0.5."""

    def forward(self, head):
        return 20 * (head - 0.75)


class Heads(torch.utils.data.Dataset):
    """The template's brain in a thick shell, moved by some voxels."""

    def __init__(self, shifts):
        self.shifts = shifts

    def __len__(self):
        return len(self.shifts)

    def __getitem__(self, row):
        atlas = template_maps()[0][0, 0].numpy()
        brain, shell = (ndi.shift((atlas < mm).astype(np.float32), self.shifts[row], order=0) for mm in (0, 9))
        head = np.maximum(brain, 0.5 * shell)
        return {"image": torch.from_numpy(head)[None], "brain": torch.from_numpy(brain)[None]}


@pytest.fixture(scope="module")
def found():
    return measure_extraction(Exact(), Heads([(0, 0, 0), (3, -4, 2)]))


def test_an_exact_network_leads_and_a_fixed_atlas_is_right_only_where_it_lies(found):
    rows = {row[0]: row[1:] for row in found.tables[0]["rows"]}
    assert list(rows) == list(TITLES.values())
    assert found.figures["extraction_dice"] > 0.95 and rows[TITLES["network"]] == [1.0, 1.0]
    fixed, moved, seen = (rows[TITLES[key]] for key in ("fixed", "moved", "seen"))
    assert fixed[1] < 0.9 < moved[1] and fixed[0] > fixed[1], "the first head is the atlas itself"
    assert seen[0] < moved[0], "a head is more than its brain"
    assert found.figures["shortcut_extraction_fixed_dice_lowest"] == fixed[1]


def test_of_a_head_that_shows_nothing_no_mask_fails():
    masks = brain_masks(np.zeros((56, 64, 56), np.float32), Exact())
    assert list(masks) == list(TITLES) and not masks["network"].any() and not masks["seen"].any()
    assert middle(np.zeros((5, 3), bool), 0) == 2
