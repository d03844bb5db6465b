"""Evaluation of SynthAnatomy: the tables of every brain generator, its codes, its sub-populations and its shortcuts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from scipy.stats import ttest_ind

from synthzoo.datasets.brain.phantoms import BrainPhantomDataset
from synthzoo.datasets.tokens import TokenDataset
from synthzoo.evaluation.base import Found
from synthzoo.evaluation.volume_synthesis import VolumeSynthesisEvaluation
from synthzoo.metrics.fidelity import pairwise_ms_ssim
from synthzoo.metrics.memorisation import memorisation
from synthzoo.networks.codebook import token_counts, usage
from synthzoo.systems.synthanatomy.inferer import AutoregressiveInferer
from synthzoo.systems.synthanatomy.likelihood import cross_entropy, entropy_by_place, unigram_entropy
from synthzoo.systems.synthanatomy.shortcuts import KINDS, CodeLookup

GROUPS = {"small ventricles": (8.0, 20.0), "large ventricles": (60.0, 100.0)}  # mL


class SynthAnatomyEvaluation(VolumeSynthesisEvaluation):
    """The evaluation of a brain generator, with what is SynthAnatomy's own.

    Args:
        unseen_size: validation phantoms whose codes are predicted.
        group_size: requests of each sub-population.
        settings_swept: settings of the inferer, rows of the table over settings; top_k is the bundle's where a row has
            none.
        amp: codes are encoded in bfloat16, as for training.
        shared: see `VolumeSynthesisEvaluation`.
    """

    PARTS = (
        "conditions",
        "fidelity",
        "populations",
        "codes",
        "shortcuts",
        "memorisation",
        "unset",
        "settings",
        "speed",
    )

    def __init__(
        self,
        unseen_size: int = 60,
        group_size: int = 30,
        settings_swept: Sequence[Mapping[str, Any]] = (),
        amp: bool = False,
        **shared: Any,
    ) -> None:
        swept = [dict(one) for one in settings_swept]
        own = {"unseen_size": unseen_size, "group_size": group_size, "settings_swept": swept, "amp": amp}
        super().__init__(settings=own, **shared)
        self.unseen_size, self.group_size, self.swept, self.amp = int(unseen_size), int(group_size), swept, bool(amp)

    def codes_of(self, split: str, size: int) -> TokenDataset:
        """The codes of a split's phantoms, drawn as for training."""
        rows = BrainPhantomDataset(size, spacing_mm=self.spacing_mm, split=split, cache_dir=self.cache_dir)
        return TokenDataset(self.network, rows, amp=self.amp)

    @cached_property
    def train_codes(self) -> TokenDataset:
        """Those of the training set."""
        return self.codes_of("train", self.training_size)

    def codes(self) -> Found:
        """Use of the codebook, and cross-entropy of unseen codes beside what counting predicts."""
        unseen, size = self.codes_of("validation", self.unseen_size), self.network.autoencoder.num_embeddings
        train, tokens = self.train_codes.tokens, unseen.tokens
        used = usage(token_counts(tokens, size))
        unigram = unigram_entropy(train, size)
        known = {which: cross_entropy(self.network, unseen, which) for which in ("requested", "shuffled", "unset")}
        rows = [
            ["counting codes (unigram entropy)", unigram],
            ["counting codes at each place", entropy_by_place(train, tokens, size)],
            ["transformer, conditions unset", known["unset"]],
            ["transformer, another image's conditions", known["shuffled"]],
            ["transformer", known["requested"]],
        ]
        rows = [[name, round(nats, 4), round(nats / max(unigram, 1e-6), 4)] for name, nats in rows]
        found = Found()
        title = f"Codes of {len(unseen)} unseen phantoms: cross-entropy a code; {used['perplexity']:.0f} of {size} "
        title += "codes in even use (perplexity)"
        found.add(title, ["predicted by", "nats", "share of the unigram entropy"], rows)
        found.figures = {"perplexity": round(used["perplexity"], 1), "codes_used": round(used["used"], 4)}
        found.figures |= {"unigram_nats": round(unigram, 4), "by_place_nats": rows[1][1]}
        found.figures |= {"code_nats": rows[4][1], "code_nats_share": rows[4][2]}
        return found

    def populations(self) -> Found:
        """Small against large ventricles: group means, and two-sample t-tests on generated volumes and on phantoms."""
        found, measured, rows = Found(), {}, []
        for number, (name, (low, high)) in enumerate(GROUPS.items()):
            requested = self._group(number, low, high)
            volumes = self.samples.make(requested, self.inferer, name)[0]
            options: dict[str, Any] = {"split": "test", "first": 70_000, "requests": requested}
            true = self.phantoms(len(requested), name, cache_dir=self.phantom_dir, **options)
            for kind, images in {"phantoms": true, "generated": volumes}.items():
                values = measured[kind, name] = self.measure(images)["ventricle_ml"]
                rows.append([name, kind, round(float(values.mean()), 2), round(float(values.std(ddof=1)), 2)])
        small, large = GROUPS
        for kind in ("phantoms", "generated"):
            test = ttest_ind(measured[kind, large], measured[kind, small], equal_var=False)
            rows.append(
                [f"{large} against {small}", f"{kind}: t {test.statistic:.2f}, p {test.pvalue:.2g}", None, None]
            )
        found.figures["population_p"] = float(f"{test.pvalue:.3g}")
        shares = [measured["generated", name].mean() / measured["phantoms", name].mean() for name in GROUPS]
        found.figures["population_worst_mean"] = round(float(max(abs(share - 1) for share in shares)), 4)
        title = f"Sub-populations of {self.group_size} requests, ventricles of "
        title += " and ".join(f"{low:g} to {high:g} mL" for low, high in GROUPS.values())
        found.add(title + ", all else uniform; Welch's t-test", ["group", "images", "mean mL", "deviation"], rows)
        return found

    def _group(self, number: int, low: float, high: float) -> np.ndarray:
        """Requests uniform in all conditions, the ventricles between two bounds."""
        bounds = self.network.conditions
        lows, highs = (np.array(ends.cpu(), dtype=np.float64) for ends in (bounds.low, bounds.high))
        place, sex = (self.subjects.names.index(name) for name in ("ventricle_ml", "sex"))
        lows[place], highs[place] = low, high
        values = np.random.default_rng([self.seed, 43, number]).uniform(lows, highs, (self.group_size, len(lows)))
        values[:, sex] = values[:, sex].round()
        return values

    def shortcuts(self) -> Found:
        """Baselines that answer from the training codes alone, the transformer without its conditions, and itself."""
        few, rows, found = self.requested[: self.sweep_count], [], Found()
        step = {"step": self.thin, "cache_dir": self.cache_dir}
        train = self.phantoms(self.training_size, "training phantoms", split="train", **step)
        held_out = self.true[(slice(None), *[slice(None, None, self.thin)] * 3)]
        sets = {"generated": self.generated[0][: self.sweep_count]}
        for kind in KINDS:
            lookup = CodeLookup(self.train_codes.tokens, self.train_codes.conditions, kind)
            sets[LABELS[kind]] = self.samples.make(few, lookup, LABELS[kind])[0]
        sets["transformer, conditions unset"] = self.samples.make(few * np.nan, self.inferer, "unset")[0]
        for name, volumes in sets.items():
            near = memorisation(volumes[(slice(None), *[slice(None, None, self.thin)] * 3)], train, held_out)
            pairs = pairwise_ms_ssim(volumes, 40, self.seed)["mean"]
            rows.append([name, *self.quality(few, volumes), pairs, near["generated_median"], near["verdict"]])
        rows.append(["phantoms", *self.measure_phantoms()[:-1], None, near["held_out_median"], None])
        columns = [
            *self.setting_columns[:-1],
            "MS-SSIM between pairs",
            "distance to the nearest training volume",
            "verdict",
        ]
        title = f"What could do the work alone, {len(few)} requests a row"
        found.add(title, ["images", *columns], rows)
        for kind, row in zip(KINDS, rows[1:], strict=False):
            found.figures |= {f"{kind}_fid": row[1], f"{kind}_ventricle_r": row[2]}
        found.figures["sweep_fid"] = rows[0][1]
        return found

    def settings(self) -> Found:
        """Quality against temperature, top_k and guidance."""
        rows = []
        for one in self.swept:
            inferer = AutoregressiveInferer(**{"top_k": getattr(self.inferer, "top_k", None), **one})
            shown = [inferer.temperature, inferer.top_k, inferer.guidance]
            rows.append([*shown, *self.measure_setting(inferer, f"temperature {shown[0]}, guidance {shown[2]}")])
        rows.append(["phantoms", None, None, *self.measure_phantoms()])
        found = Found()
        title = f"Quality against the settings of the sampler, {self.sweep_count} requests a row"
        found.add(title, ["temperature", "top_k", "guidance", *self.setting_columns], rows)
        return found


LABELS = {
    "nearest": "codes of the training phantom of the nearest conditions",
    "independent": "each code by itself, from the 24 training phantoms of the nearest conditions",
}
