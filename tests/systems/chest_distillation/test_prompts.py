"""Words of prompts: tokens, what a text denies, what a training prompt says, and a sentence for each bad prompt."""

import numpy as np
import pytest
import torch

from synthzoo.errors import UserError
from synthzoo.networks.word_tokens import WordTokenizer
from synthzoo.systems.chest_distillation.cases import checked_prompt
from synthzoo.systems.chest_distillation.prompts import PromptedLatents, Prompts
from synthzoo.systems.chest_distillation.words import affirmed

WORDS = ["a", "and", "effusion", "in", "left", "lung", "nodule", "nodular", "no", "opacity", "pleural", "right"]
WORDS += ["the", "upper", "zone"]


@pytest.fixture
def tokenizer():
    return WordTokenizer(WORDS, length=8)


def test_a_prompt_is_a_start_a_token_for_each_word_and_padding(tokenizer):
    tokens = tokenizer(["Left pleural effusion.", ""])
    assert tokens.shape == (2, 8) and tokens.dtype == torch.int64
    assert tokens[0].tolist() == [1, *(2 + WORDS.index(word) for word in ("left", "pleural", "effusion")), 0, 0, 0, 0]
    assert tokens[1].tolist() == [1] + [0] * 7


def test_the_words_of_a_finding_are_found_by_their_parts_and_those_past_the_end_are_dropped(tokenizer):
    assert tokenizer.groups("nodular opacity in the left lung", ("nodul", "opac")) == [[1], [2]]
    assert tokenizer.groups("left lung", ("nodul",)) == [[1], [2]], "no such word: all of them"
    assert tokenizer.groups("a a a a a a a nodule", ("nodul",)) == [[n] for n in range(1, 8)]
    assert tokenizer.groups("") == []


@pytest.mark.parametrize(
    "text, left",
    [
        ("Left effusion without pneumothorax. No nodule is seen.", "left effusion"),
        ("No acute process. Nodule.", "no acute process nodule"),
        ("There is no pneumothorax", "there is"),
        ("nodule; no effusion\nheart is normal", "nodule heart is normal"),
    ],
)
def test_what_a_text_denies_is_left_out(text, left):
    assert affirmed(text) == left


@pytest.mark.parametrize(
    "prompt, said",
    [
        ("", "prompt is empty"),
        (" ?! ", "but must name a finding"),
        (7, "must be text"),
        ("noduel in the left lung", "does not know the word 'noduel'; near ones are nodule"),
        ("xyzzy", "does not know the word 'xyzzy'; it knows a, and"),
        ("left " * 9, "has 9 words, but may have 7"),
        ("No nodule.", "only says what is not there"),
        ("There is no nodule in the left lung", "only says what is not there"),
    ],
)
def test_a_bad_prompt_is_refused_in_a_sentence(tokenizer, prompt, said):
    with pytest.raises(UserError, match=said.replace("?", r"\?")):
        checked_prompt(prompt, tokenizer)


def test_an_empty_prompt_is_one_for_generation(tokenizer):
    assert checked_prompt("", tokenizer, may_be_empty=True) == ""
    assert checked_prompt("The right lung. No nodule.", tokenizer, may_be_empty=True) == "the right lung"
    assert checked_prompt("Nodule, in the LEFT lung.", tokenizer) == "nodule in the left lung"


def test_a_vocabulary_has_each_word_once():
    with pytest.raises(UserError, match="'a' stands twice"):
        WordTokenizer(["a", "b", "a"])


def test_training_prompts_name_what_is_there_and_lose_places_every_other_time():
    np.random.seed(0)
    phrases = ["small nodule in the left upper zone", "", "right pleural effusion"]
    report = "Small nodule in the left upper zone. Right pleural effusion. No pneumothorax."
    made = [Prompts()(phrases, report) for _ in range(400)]
    assert 0.05 < np.mean([prompt == "" for prompt in made]) < 0.16
    named = [prompt for prompt in made if prompt]
    assert all("pneumothorax" not in prompt for prompt in made)
    assert 0.25 < np.mean(["left" in prompt for prompt in named]) < 0.75
    assert {
        prompt.index("nodule") < prompt.index("effusion") for prompt in named if "nodule" in prompt and "eff" in prompt
    }
    assert Prompts(empty=0)(["", ""], "The lungs are clear. No nodule is seen.") == "the lungs are clear"


def test_a_row_is_read_with_another_prompt_each_time(tokenizer):
    np.random.seed(0)
    rows = [{"latents": torch.zeros(4, 8, 8), "phrases": ["left nodule", "effusion"], "report": ""}]
    data = PromptedLatents(rows, tokenizer, Prompts())
    assert len({tuple(data[0]["tokens"].tolist()) for _ in range(20)}) > 2
