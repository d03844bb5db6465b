"""Evaluation of the classifier that is shipped, and of every method at equal labels with its step-matched control."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from synthzoo.evaluation.base import Evaluation, Found
from synthzoo.evaluation.pictures import new_figure, save_figure
from synthzoo.systems.semi_vit.comparison import METHODS, START, Comparison, Member
from synthzoo.systems.semi_vit.controls import control_accuracies
from synthzoo.systems.semi_vit.dataset import ClassImages
from synthzoo.systems.semi_vit.scores import by_class, class_metrics, paired_gain, probabilities
from synthzoo.systems.semi_vit.tasks import is_done, result_of

OURS = "Semi-ViT (shipped)"
STUDENT = "its student, not averaged"
SURE = 0.7  # confidence that the table of sure images is made at
MAIN = "garments"
PAIRS = (("semi", "vit"), ("semi", "cnn"), ("mae", "vit"), ("mae_semi", "mae"), ("mae_semi", "vit"))
DIGITS = 3
SETTING = {"garments": "garments", "shift": "garments, labels on plain fabric only"}  # by accuracy, others by class
TITLES = {**SETTING, "chest": "chest findings, radiographs", "chest_ct": "chest findings, CT"}


class SemiViTEvaluation(Evaluation):
    """The shipped network on test images with its controls, and the comparison of all methods.

    Args:
        network: trained `ImageClassifier`, the teacher.
        report, work_dir, parts, inferer: see `Evaluation`.
        tested: test images.
        labelled: training images with the labels that the network was trained on, for the controls.
        comparison: whose results are read; what it has not trained yet is left out.
        student: file of the student's weights; None or no such file leaves it out.
        figure: picture that is written; None writes none.
    """

    PARTS = ("shipped", "classes", "settings", "labels", "gains", "pseudo_labels")

    def __init__(
        self,
        network: torch.nn.Module,
        tested: ClassImages,
        labelled: ClassImages,
        comparison: Comparison,
        student: str | Path | None = None,
        student_network: torch.nn.Module | None = None,
        figure: str | Path | None = None,
        **shared: Any,
    ) -> None:
        self.comparison, self.student, self.figure = comparison, student, figure
        done = [member.name for member in comparison.members() if is_done(comparison.folder, member.name)]
        settings = {"tested": len(tested), "labels": len(labelled.labelled()), "members": done}
        super().__init__(network, settings=settings, **shared)
        self.tested, self.labelled, self.student_network = tested, labelled, student_network

    # --- what is shipped --------------------------------------------------------------------------------------------

    def shipped(self) -> Found:
        """Accuracy, AUROC and calibration of the teacher and its student, beside what needs no network."""
        found = Found()
        rows: list[list[Any]] = []
        for name, network in self._networks().items():
            metrics = class_metrics(self._scores(name, network), self.tested.truth)
            rows.append(
                [name, *(round(metrics[key], DIGITS) for key in ("accuracy", "top2", "balanced", "auroc", "ece"))]
            )
            prefix = "" if name == OURS else "student_"
            found.figures |= {f"{prefix}{key}": round(value, 4) for key, value in metrics.items()}
        for name, accuracy in control_accuracies(self.labelled, self.tested).items():
            rows.append([name, round(accuracy, DIGITS), *[None] * 4])
            found.figures[f"{name.replace(' ', '_')}_accuracy"] = round(accuracy, 4)
        found.figures["chance"] = round(1 / len(self.tested.classes), 4)
        rows.append(["chance", round(1 / len(self.tested.classes), DIGITS), *[None] * 4])
        title = f"{len(self.tested)} test phantoms, {len(self.labelled.labelled())} labels in training"
        columns = ["method", "accuracy", "of the two likeliest", "mean over classes", "AUROC", "calibration error"]
        found.add(title, columns, rows)
        return found

    def classes(self) -> Found:
        """Of each class how many are found, how many are sure, and what it is taken for."""
        scores, truth, names = self._scores(OURS, self.network), self.tested.truth, self.tested.classes
        predicted = scores.argmax(1)
        rows: list[list[Any]] = []
        sure = by_class(scores, truth, SURE)
        for number, name in enumerate(names):
            own = truth == number
            wrong = np.bincount(predicted[own & (predicted != number)], minlength=len(names))
            taken = f"{names[int(wrong.argmax())]} ({int(wrong.max())})" if wrong.sum() else "-"
            recall = round(float(np.mean(predicted[own] == number)), DIGITS) if own.any() else None
            kept, right = (round(sure[key][number], DIGITS) for key in ("kept", "right"))
            rows.append([name, int(own.sum()), recall, kept, right, taken])
        found = Found()
        columns = ["class", "images", "found", f"sure from {SURE:g} on", "of these right", "most often taken for"]
        found.add("Each class, shipped network", columns, rows)
        found.figures["least_found_class"] = min(row[2] for row in rows if row[2] is not None)
        return found

    # --- the comparison ---------------------------------------------------------------------------------------------

    def settings(self) -> Found:
        """What was tried for the third stage, on validation images of a seed that is not reported."""
        found, tried = Found(), self.comparison.tried()
        rows: list[list[Any]] = []
        if not all(is_done(self.comparison.folder, one.name) for one in tried):
            return found
        best = self.comparison.chosen()
        for number, member in enumerate(tried):
            reached = self._result(member)["validation"]["accuracy"]
            given = ", ".join(f"{key} {value}" for key, value in self.comparison.candidates[number].items())
            rows.append([given, round(reached, DIGITS), "yes" if number == best else "no"])
        one = tried[0]
        title = f"Third stage, tried at {one.share:.0%} of the labels, seed {one.seed}: accuracy on validation images"
        found.add(title, ["settings", "accuracy", "chosen"], rows)
        found.figures["chosen_settings"] = rows[best][0]
        return found

    def labels(self) -> Found:
        """Mean and standard deviation over seeds, each method at each share, one table a data set."""
        found = Found()
        for data in self._data():
            key = "accuracy" if data in SETTING else "balanced"
            shares = self._shares(data)
            rows: list[list[Any]] = []
            for method in (*METHODS, START):
                values = {share: self._values(data, share, method, key) for share in shares}
                if any(values.values()):
                    title = METHODS[method].title if method in METHODS else "Semi-ViT before its third stage"
                    rows.append([title, *(_spread(values[share]) for share in shares)])
                for share, seeds in values.items():
                    if seeds:
                        found.figures[f"{data}_{method}_{100 * share:g}"] = round(
                            float(np.mean(list(seeds.values()))), 4
                        )
            what = "accuracy" if key == "accuracy" else "mean accuracy over classes"
            title = f"{TITLES.get(data, data)}: test {what}, mean and standard deviation over seeds, by share of labels"
            if rows:
                found.add(title, ["method, equal labelled steps", *(f"{100 * share:g}%" for share in shares)], rows)
        return found

    def gains(self) -> Found:
        """Differences of equal seeds and shares, and whether they show a gain."""
        found = Found()
        rows: list[list[Any]] = []
        for data in self._data():
            key = "accuracy" if data in SETTING else "balanced"
            for share in self._shares(data):
                for ours, control in PAIRS:
                    first, second = (self._values(data, share, method, key) for method in (ours, control))
                    seeds = sorted(set(first) & set(second))
                    if not seeds:
                        continue
                    gain = paired_gain([first[seed] for seed in seeds], [second[seed] for seed in seeds])
                    names = f"{METHODS[ours].title} against {METHODS[control].title}"
                    error = None if np.isnan(gain["error"]) else round(gain["error"], DIGITS)
                    wins = f"{gain['wins']} of {gain['seeds']}"
                    place = f"{TITLES.get(data, data)}, {100 * share:g}%"
                    rows.append([place, names, round(gain["mean"], DIGITS), error, wins, gain["verdict"]])
                    figure = f"{data}_{ours}_over_{control}_{100 * share:g}"
                    found.figures[figure] = round(gain["mean"], 4)
                    found.figures[f"{figure}_gain"] = gain["verdict"]
        if rows:
            title = (
                "Gain at equal labels and labelled steps: shown where every seed has it and the mean is over 2 errors"
            )
            found.add(title, ["labels", "methods", "mean difference", "standard error", "seeds ahead", "gain"], rows)
        return found

    def pseudo_labels(self) -> Found:
        """What the teachers said of training images: how many were sure, how many of these right, by class."""
        found = Found()
        rows: list[list[Any]] = []
        for data in self._data():
            for share in self._shares(data):
                kept, right = [], []
                for member in self._done(data, share, "semi"):
                    pseudo = self._result(member)["pseudo"]
                    kept.append(pseudo["kept"])
                    right.append(pseudo["right"])
                if kept:
                    mean = [np.asarray(values, float).mean(0) for values in (kept, right)]
                    cells = [round(float(value), DIGITS) for one in mean for value in (one.mean(), one.min())]
                    rows.append([f"{TITLES.get(data, data)}, {100 * share:g}%", *cells])
        if rows:
            columns = ["labels", "sure", "least sure class", "of these right", "least right class"]
            found.add("Pseudo-labels of the teacher on training images, mean over classes", columns, rows)
        return found

    def draw(self, found: Any) -> None:
        """PNG: accuracy by share of labels, a line a method."""
        figures = {key: value for one in found.values() for key, value in one.figures.items()}
        shares = self._shares(MAIN)
        if self.figure is None or len(shares) < 2:
            return
        canvas = new_figure(6.0, 4.0)
        axis = canvas.subplots()
        for method, known in METHODS.items():
            points = [(share, figures.get(f"{MAIN}_{method}_{100 * share:g}")) for share in shares]
            points = [point for point in points if point[1] is not None]
            if points:
                axis.plot(*zip(*[(100 * share, value) for share, value in points]), marker="o", label=known.title)
        axis.axhline(1 / len(self.tested.classes), color="grey", linestyle=":", label="chance")
        axis.set(xscale="log", xlabel="labels, percent", ylabel="test accuracy", ylim=(0, 1))
        axis.legend(fontsize=8)
        save_figure(canvas, self.figure)

    # --- reading ----------------------------------------------------------------------------------------------------

    def _networks(self) -> dict[str, torch.nn.Module]:
        networks = {OURS: self.network}
        if self.student_network is not None and self.student and Path(self.student).is_file():
            from synthzoo.networks.weights import load_weights

            networks[STUDENT] = load_weights(self.student_network, self.student, self.device)
        return networks

    def _scores(self, name: str, network: torch.nn.Module) -> np.ndarray:
        made = self.cached(
            name.split(" ")[0], lambda: {"scores": torch.from_numpy(probabilities(network, self.tested, self.inferer))}
        )
        return made["scores"].numpy()

    def _data(self) -> list[str]:
        return list(dict.fromkeys(entry["data"] for entry in self.comparison.grid))

    def _shares(self, data: str) -> list[float]:
        return sorted(
            {float(one) for entry in self.comparison.grid if entry["data"] == data for one in entry["shares"]}
        )

    def _result(self, member: Member) -> dict[str, Any]:
        return result_of(self.comparison.folder, member.name)

    def _done(self, data: str, share: float, method: str) -> Sequence[Member]:
        if method == START:
            wanted = [Member(data, share, START, int(seed)) for seed in self.comparison.seeds]
        else:
            every = self.comparison.members()
            wanted = [one for one in every if (one.data, one.share, one.method) == (data, share, method)]
        return [one for one in wanted if is_done(self.comparison.folder, one.name)]

    def _values(self, data: str, share: float, method: str, key: str) -> dict[int, float]:
        """Seed -> figure on the test images."""
        return {one.seed: self._result(one)["test"][key] for one in self._done(data, share, method)}


def _spread(values: dict[int, float]) -> str | None:
    """Mean and standard deviation of the seeds."""
    if not values:
        return None
    numbers = np.array(list(values.values()))
    spread = f" ± {numbers.std(ddof=1):.3f}" if len(numbers) > 1 else ""
    return f"{numbers.mean():.3f}{spread}"
