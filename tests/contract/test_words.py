"""One thing has one name: words that CONTRIBUTING's glossary replaces stand nowhere that a user or a reader looks."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
READ = {".py", ".md", ".json", ".html", ".css", ".js", ".yml", ".toml", ".conf"}
PLACES = [
    *("synthzoo", "plugins", "scripts", "tests", "docs", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile"),
    *("bundle_index.json", "setup.py", "pyproject.toml"),
    *(f"bundles/*/{part}" for part in ("configs", "docs", "large_files.yml")),
]
# Word -> what is said instead, as CONTRIBUTING's glossary has it.
INSTEAD = {
    r"films?": "video, or clip for a window of frames",
    r"cines?": "video",
    r"strangers?": "unseen patients, or non-members",
    r"rivals?": "baseline",
    r"aims?_met|bars?_met": "criteria_met",
    r"anew": "again",
    r"deaf": "condition-insensitive",
    r"hearts? drawn|hearts_drawn": "n_attempts",
    r"turned down": "rejected",
    r"has the word": "takes precedence",
    r"taught": "trained",
}
# Parts of names count too: `draw_film` and `FilmRate` hold the word, `filmed` and a bundle's own name do not.
WORDS = "|".join(f"(?P<w{n}>{word})" for n, word in enumerate(INSTEAD))
BANNED = re.compile(rf"(?<![a-z])(?:{WORDS})(?![a-z])", re.IGNORECASE)
BUNDLE, CAPITAL = re.compile(r"\w+_us_cine_\w+"), re.compile(r"(?<=[a-z])(?=[A-Z])")
# Path, as a pattern -> words that may stand there, with the reason.
ALLOWED = {
    r"synthzoo/(networks/space_time_blocks|systems/dartagnan/blocks)\.py": (
        r"film",  # the layer of feature-wise linear modulation (FiLM); stored weights know it by this name
    ),
    r"(synthzoo/io/dicom_pixels|tests/rooms/test_dicom_images)\.py": (r"cine",),  # DICOM's own CineRate
    r"CONTRIBUTING\.md": (r".*",),  # the glossary names the words
    r"tests/contract/test_words\.py": (r".*",),
}


def files() -> list[Path]:
    """Every text that the words are looked for in."""
    found = []
    for place in PLACES:
        for path in sorted(ROOT.glob(place)):
            found += [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.suffix in READ)
    return [path for path in found if "__pycache__" not in path.parts]


def hits(line: str) -> list[re.Match]:
    """The banned words of a line, with the words within names apart."""
    return list(BANNED.finditer(CAPITAL.sub(" ", BUNDLE.sub("", line))))


def allowed(path: str, word: str) -> bool:
    """Whether a word may stand in a file."""
    words = [known for place, known in ALLOWED.items() if re.fullmatch(place, path)]
    return any(re.fullmatch(one, word, re.IGNORECASE) for known in words for one in known)


def test_no_text_says_a_word_that_the_glossary_replaces():
    read = files()
    assert len(read) > 300, "the places where texts lie have moved: correct PLACES"
    found = []
    for path in read:
        name = path.relative_to(ROOT).as_posix()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for hit in hits(line):
                if not allowed(name, hit.group()):
                    say = list(INSTEAD.values())[int(hit.lastgroup[1:])]
                    found.append(f"{name}:{number}: '{hit.group()}'; say: {say}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("place", ALLOWED)
def test_every_exception_is_needed(place):
    texts = [path for path in files() if re.fullmatch(place, path.relative_to(ROOT).as_posix())]
    assert any(hits(path.read_text(encoding="utf-8")) for path in texts), f"nothing in {place} needs it"
