"""What the page of an audit says: every test in plain words, so that no knowledge of statistics is needed."""

from __future__ import annotations

from synthzoo.evaluation.privacy.verdict import LEAK, PASS, UNSURE

VERDICTS = {
    LEAK: (
        "Leak found",
        "Do not release these images or the generator. At least one test found that training images come back.",
    ),
    UNSURE: (
        "Not shown safe",
        "No leak was proven, but safety was not shown either. Treat images and generator like the training data "
        "until the open tests below are closed, most often with more samples or a larger hold-out.",
    ),
    PASS: (
        "No leak found by these tests",
        "Every test that was run found the images as new as images of people whom the generator never saw. This is "
        "no proof: read below what was not tested.",
    ),
}
# Test -> (question, how it was asked).
TESTS = {
    "nearest": (
        "Are the generated images nearer to training images than they should be?",
        "For each image: its distance to the nearest training image, divided by that to the nearest of images that the "
        "generator never saw. The number compares generated images with real ones of other people: 1 means equally "
        "new, near 0 means copied.",
    ),
    "copies": (
        "Are some generated images copies?",
        "An attacker calls a generated image a copy if it is nearer to one training image than nearly all real "
        "images of other people are.",
    ),
    "exact": (
        "Is any single image a copy beyond doubt?",
        "A generated image counts if it is twice as near to a training image as any real image of another person is. "
        "One is enough.",
    ),
    "link": (
        "Can generated images be linked to a training patient?",
        "An attacker who holds a training patient's image calls the generated one his if they look more alike than "
        "images of two people do in 95 of 100 cases.",
    ),
    "membership": (
        "Can one tell who was in the training set?",
        "An attacker who holds a person's image says 'was in the training set' if some generated image is unusually "
        "near to it.",
    ),
    "marked_image": (
        "Does one marked training image come back?",
        "One training image carries a mark that no other has. Two detectors, of the mark and of the image, count it "
        "among the generated images; the control is what they take for it in images of a generator that never saw it.",
    ),
    "near_copy": (
        "Are some generated images much nearer to one training image than to all others?",
        "An attacker calls an image a copy if the nearest training image is twice as near as the second. Without "
        "images of other people this can find a leak and never exclude one.",
    ),
    "recall": (
        "How much of the training set shows up?",
        "The share of training images that are nearest to some generated image, beside the share for as many real "
        "images of other people. No verdict: a low share means little variety, a high one alone no leak.",
    ),
}
GLOSSARY = {
    "training images": "the real images that the generator learned from; the people on them are the ones to protect",
    "generated images": "what the generator made and what is to be released",
    "hold-out": "real images of other people, whom the generator never saw; they show how alike two people look anyway",
    "attack": "how often the attacker succeeds against the training images",
    "control": "how often the same attack 'succeeds' against people who were never used: mere likeness",
    "guess": "how often an attacker succeeds who only guesses",
    "risk": "what is left of the attack when mere likeness is taken away, from 0 % to 100 %, always right",
    "from ... to": "95 % interval of the number; its upper end says how large a leak may have stayed unseen",
}


def test_words(name: str) -> tuple[str, str]:
    """Question and method of a test; of one that a domain adds, its name."""
    return TESTS.get(name, (name.replace("_", " "), ""))
