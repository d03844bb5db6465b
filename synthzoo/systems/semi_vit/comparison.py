"""Every method at every share of labels and several seeds: trained alike, measured on one test set, kept as results.

All methods of a share and a seed see the same labels and the same number of labelled images: `steps` steps of
`batch_size`. Semi-ViT's last `semi_steps` of these are its third stage, with as large a labelled batch; its control is
supervised training of the full length with a schedule of its own. Settings of the third stage are chosen on validation
images at one share and a seed that is not reported; the test set is not touched before.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from synthzoo.datasets.loader import seed_everything
from synthzoo.errors import UserError
from synthzoo.networks.saving import save_weights
from synthzoo.networks.weights import load_weights
from synthzoo.systems.semi_vit.augmentation import strong_view, weak_view
from synthzoo.systems.semi_vit.dataset import AllRows, ClassImages, LabelledRows, class_images
from synthzoo.systems.semi_vit.network import ImageClassifier
from synthzoo.systems.semi_vit.objective import (
    MaskedAutoencoderLoss,
    SemiSupervisedLoss,
    SupervisedLoss,
    autoencoder_groups,
    layer_groups,
)
from synthzoo.systems.semi_vit.scores import by_class, class_metrics, probabilities
from synthzoo.systems.semi_vit.tasks import Task, is_done, results_of, work_off
from synthzoo.training import stage

PRETRAINING, START = "pretraining", "start"
SEMI_SETTINGS = ("threshold", "weight", "mixing", "decay", "learning_rate")


@dataclass(frozen=True)
class Method:
    """How a network is trained.

    Attributes:
        title: for people.
        network: of the data set's networks, "vit" or "cnn".
        pretrained: whether masked autoencoding on all training images comes first.
        semi: whether the third stage follows.
    """

    title: str
    network: str = "vit"
    pretrained: bool = False
    semi: bool = False


METHODS = {
    "cnn": Method("CNN, supervised", "cnn"),
    "vit": Method("ViT, supervised"),
    "semi": Method("Semi-ViT", semi=True),
    "mae": Method("ViT after MAE, supervised", pretrained=True),
    "mae_semi": Method("Semi-ViT after MAE", pretrained=True, semi=True),
}


@dataclass(frozen=True)
class Plan:
    """How long and how fast is trained, of one data set.

    Attributes:
        steps: T, of every method, those of the third stage included.
        semi_steps: of the third stage.
        pretraining_steps: of masked autoencoding.
        batch_size: labelled images a step.
        others: mu, unlabelled images for each labelled one; masked autoencoding sees (1 + mu) batch_size images a step.
        learning_rate, cnn_rate, mae_rate: highest of each.
        layer_decay: of a transformer that goes on from weights; one from random weights has a decay of 1.
        flips: see `augmentation.View`.
        zoom: smallest and largest share of a side that a strong view sees.
    """

    steps: int = 1500
    semi_steps: int = 500
    pretraining_steps: int = 1500
    batch_size: int = 16
    others: int = 3
    learning_rate: float = 1e-3
    cnn_rate: float = 2e-3
    mae_rate: float = 1.5e-3
    layer_decay: float = 0.75
    flips: tuple[int, ...] = (-1,)
    zoom: tuple[float, float] = (0.7, 1.0)


@dataclass(frozen=True)
class Member:
    """One training of the comparison.

    Attributes:
        data: name of the data set.
        share: of the labels; 0 for what needs none.
        method: of `METHODS`, or "pretraining", or "start", the supervised part of a semi-supervised method.
        seed: of labels, weights and order.
        pretrained: of a start.
        candidate: number of the settings that are tried; None takes those that were chosen.
    """

    data: str
    share: float
    method: str
    seed: int
    pretrained: bool = False
    candidate: int | None = None

    @property
    def name(self) -> str:
        """Of its files."""
        parts = [self.data, f"{100 * self.share:g}", ("mae_" if self.pretrained else "") + self.method, f"s{self.seed}"]
        return "-".join(parts if self.candidate is None else [*parts, f"c{self.candidate}"])


class Comparison:
    """Trains and measures all members; started several times at once, the processes share them out.

    Args:
        data: name -> {"train", "validation", "test": arguments of `class_images` besides share, seed and split, whose
            "validation" is needed for tuning alone; "networks": {"vit", "cnn"} -> arguments of `ImageClassifier`;
            "plan": fields of `Plan`}.
        grid: list of {"data", "shares", "methods"}, and "seeds" where they are not those of all.
        seeds: of each.
        candidates: settings of the third stage, of which those are taken that are best on validation: "threshold",
            "weight", "mixing", "decay", "learning_rate".
        tuning: {"data", "share", "seed"}, where they are tried.
        folder: of results, weights and checkpoints.
        device: to train on.

    Raises:
        UserError: an unknown method or data set, a tuning seed that is reported.
    """

    def __init__(
        self,
        data: Mapping[str, Mapping[str, Any]],
        grid: Sequence[Mapping[str, Any]],
        seeds: Sequence[int],
        candidates: Sequence[Mapping[str, Any]],
        tuning: Mapping[str, Any],
        folder: str | Path,
        device: str | torch.device = "cpu",
    ) -> None:
        self.data, self.grid, self.seeds, self.candidates = dict(data), list(grid), list(seeds), list(candidates)
        self.tuning, self.folder, self.device = dict(tuning), Path(folder), torch.device(device)
        self._images: dict[tuple, ClassImages] = {}
        for entry in self.grid:
            unknown = [one for one in entry["methods"] if one not in METHODS]
            if unknown or entry["data"] not in self.data:
                known = ", ".join([*self.data, *METHODS])
                raise UserError(f"grid: {unknown or entry['data']} is unknown; data sets and methods are {known}.")
        if self.tuning["seed"] in self.seeds:
            raise UserError(f"tuning#seed = {self.tuning['seed']}: it is reported, too; tune on another one.")
        strange = {key for one in self.candidates for key in one} - set(SEMI_SETTINGS)
        if strange or not self.candidates:
            raise UserError(f"candidates: {sorted(strange) or 'none'}; each has some of {', '.join(SEMI_SETTINGS)}.")

    # --- what there is to do ----------------------------------------------------------------------------------------

    def members(self) -> Iterator[Member]:
        """All that is reported, what is tried out left aside."""
        for entry in self.grid:
            for share in entry["shares"]:
                for seed in entry.get("seeds", self.seeds):
                    for method in entry["methods"]:
                        yield Member(entry["data"], float(share), method, int(seed))

    def tried(self) -> list[Member]:
        """The candidates, on validation."""
        data, share, seed = (self.tuning[key] for key in ("data", "share", "seed"))
        return [Member(data, float(share), "semi", seed, candidate=number) for number in range(len(self.candidates))]

    def tasks(self) -> list[Task]:
        """Everything, in the order of preference: the candidates first, as others wait for them."""
        found: dict[str, Task] = {}
        for member in [*self.tried(), *self.members()]:
            self._add(member, found)
        return list(found.values())

    def _add(self, member: Member, found: dict[str, Task]) -> None:
        before = [*self._before(member)]
        for one in before:
            self._add(one, found)
        needs = [one.name for one in before]
        if member.method in METHODS and METHODS[member.method].semi and member.candidate is None:
            needs += [one.name for one in self.tried()]
        found.setdefault(member.name, Task(member.name, partial(self.train, member), tuple(needs)))

    def _before(self, member: Member) -> Iterator[Member]:
        """What a member goes on from."""
        pretrained = member.pretrained or (member.method in METHODS and METHODS[member.method].pretrained)
        if member.method in METHODS and METHODS[member.method].semi:
            yield Member(member.data, member.share, START, member.seed, pretrained)
        elif pretrained:
            yield Member(member.data, 0.0, PRETRAINING, member.seed)

    def run(self) -> None:
        """Train what is left."""
        work_off(self.tasks(), self.folder)

    # --- one training -----------------------------------------------------------------------------------------------

    def images(self, data: str, split: str, share: float = 1.0, seed: int = 0) -> ClassImages:
        """The images of one split of a data set."""
        key = (data, split, share, seed)
        if key not in self._images:
            settings = {**self.data[data][split], "split": split, "labelled_share": share, "seed": seed}
            self._images[key] = class_images(**settings)
        return self._images[key]

    def plan(self, data: str) -> Plan:
        """Of a data set."""
        given: dict[str, Any] = dict(self.data[data].get("plan", {}))
        given |= {key: tuple(value) for key, value in given.items() if isinstance(value, list)}
        return Plan(**given)

    def network(self, data: str, kind: str, seed: int) -> ImageClassifier:
        """A new network of a data set, its weights drawn from the seed."""
        seed_everything(seed)
        return ImageClassifier(**self.data[data]["networks"][kind]).to(self.device)

    def weights(self, member: Member) -> Path:
        """Where a member's weights lie."""
        return self.folder / f"{member.name}.pt"

    def train(self, member: Member) -> dict[str, Any]:
        """Train a member, keep its weights where others go on from them, and measure it."""
        plan = self.plan(member.data)
        kind = METHODS[member.method].network if member.method in METHODS else "vit"
        network = self.network(member.data, kind, member.seed)
        before = next(self._before(member), None)
        if before is not None:
            load_weights(network, self.weights(before), self.device)
        views: dict[str, Any] = {"flips": plan.flips, "zoom": plan.zoom}
        if member.method == PRETRAINING:
            return self._pretrain(member, network, plan)
        images = self.images(member.data, "train", member.share, member.seed)
        supervised = SupervisedLoss(strong_view(**views))
        semi = member.method in METHODS and METHODS[member.method].semi
        settings = self.settings(member.candidate) if semi else {}
        rate = settings.pop("learning_rate", plan.learning_rate) if kind != "cnn" else plan.cnn_rate
        decay = plan.layer_decay if member.pretrained or before is not None else 1.0
        steps = plan.semi_steps if semi else plan.steps - (plan.semi_steps if member.method == START else 0)
        objective: Any = supervised
        if semi:
            weak = weak_view(plan.flips)
            objective = SemiSupervisedLoss(network, supervised, weak, strong_view(**views), **settings)
        rows = LabelledRows(images, plan.others if semi else 0)
        self._run(member, network, rows, objective, layer_groups(network, rate, decay), steps, plan.batch_size)
        if member.method == START:
            save_weights(network, self.weights(member))
        if member.candidate is not None:
            return {"validation": self._measured(objective.teacher, member.data, "validation"), "settings": settings}
        split = "validation" if member.seed == self.tuning["seed"] else "test"
        found = {split: self._measured(objective.teacher if semi else network, member.data, split)}
        if semi:
            found["student"] = self._measured(network, member.data, "test")
            scores = probabilities(objective.teacher, images)
            found["pseudo"] = by_class(scores, images.truth, objective.threshold)
        return found

    def _pretrain(self, member: Member, network: ImageClassifier, plan: Plan) -> dict[str, Any]:
        rows = AllRows(self.images(member.data, "train"))
        objective = MaskedAutoencoderLoss(network, view=weak_view(plan.flips))
        groups = autoencoder_groups(network, objective, plan.mae_rate)
        size = plan.batch_size * (1 + plan.others)
        loss = self._run(member, network, rows, objective, groups, plan.pretraining_steps, size)
        save_weights(network, self.weights(member))
        return {"loss": loss}

    def _run(
        self, member: Member, network: ImageClassifier, rows: Any, objective: Any, groups: list, steps: int, size: int
    ) -> float:
        """Train, and give the last loss; the checkpoint is removed when all is done."""
        checkpoints = self.folder / "checkpoints" / member.name
        trainer = stage(
            network,
            rows,
            objective,
            groups,
            max_epochs=1,
            epoch_length=steps,
            batch_size=size,
            seed=member.seed,
            warmup=max(1, steps // 20),
            floor=0.01,
            files={"checkpoint_dir": checkpoints},
            progress=False,
        )
        trainer.run()
        shutil.rmtree(checkpoints, ignore_errors=True)
        return float((trainer.state.output or {}).get("loss", float("nan")))

    def _measured(self, network: ImageClassifier, data: str, split: str) -> dict[str, Any]:
        images = self.images(data, split)
        scores = probabilities(network, images)
        figures = {key: round(value, 5) for key, value in class_metrics(scores, images.truth).items()}
        return {**figures, "predicted": scores.argmax(1).tolist()}

    # --- settings of the third stage --------------------------------------------------------------------------------

    def settings(self, candidate: int | None = None) -> dict[str, Any]:
        """The settings of a candidate, or of the one that is best on validation; the first of equals.

        Raises:
            UserError: not all of them were tried yet.
        """
        return dict(self.candidates[self.chosen() if candidate is None else candidate])

    def chosen(self) -> int:
        """Number of the best candidate, see `settings`."""
        tried = self.tried()
        missing = [one.name for one in tried if not is_done(self.folder, one.name)]
        if missing:
            raise UserError(f"comparison: settings are not chosen yet, {missing[0]} is missing; run the comparison.")
        found = results_of(self.folder, [one.name for one in tried])
        return max(range(len(tried)), key=lambda place: (found[tried[place].name]["validation"]["accuracy"], -place))
