"""The page that sets the anomaly maps of the brain side by side: every method's own figures, shortcuts once."""

from synthzoo.bundle.cards import CONTRASTS, methods_text


def report(name: str, ap: float, **more: float) -> tuple[str, dict]:
    figures = {f"{c}_ap": ap for c in CONTRASTS} | {f"{c}_equalised_ap": 0.25 for c in CONTRASTS} | more
    return name, figures


def test_methods_stand_side_by_side_with_the_shortcuts_and_others_are_left_out():
    other = ("other", {"ap": 0.9})
    text = methods_text([report("one", 0.5, FLAIR_lesions_whole_ap=0.75), other, report("two", 0.125)])
    lines = text.splitlines()
    assert "| `one` | 0.5 | 0.5 | 0.5 | 0.5 |" in lines and "| `two` | 0.125 | 0.125 | 0.125 | 0.125 |" in lines
    assert "| equalised intensity, smoothed | 0.25 | 0.25 | 0.25 | 0.25 |" in lines
    assert "| `one` | 0.75 | - | - | - | - |" in lines and text.count("`two`") == 1 and "other" not in text
    assert methods_text([other]) == "Not measured yet."
