"""Images as token sequences, encoded once: what an autoregressive transformer is trained on."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from synthzoo.datasets.latents import autoencoder_digest
from synthzoo.networks.saving import save_atomically


class TokenDataset(Dataset):
    """The tokens of a data set of images: {"tokens": int64 (T,) in order, "conditions": float32 (K,), "row"}.

    A training step on them costs the transformer alone. Tokens are kept in the folder of the images' cache under a name
    that changes with the autoencoder's weights and with the images, so that others are never taken for them.

    Args:
        network: with `autoencoder`, trained, and `tokenise`: images (B, C, *spatial) -> (B, T).
        dataset: rows {"image"} and, where there are any, {"conditions"}, the same of a row each time. If it has
            `cache_dir` and `cache_path`, tokens are kept; if it has `facts`, conditions are read without images.
        batch_size: images encoded at once.
        amp: encode in bfloat16 by torch.autocast: more than twice as fast on a CPU, and a few tokens in a hundred are
            neighbours of what they were.
    """

    def __init__(self, network: Any, dataset: Dataset, batch_size: int = 4, amp: bool = False) -> None:
        path, count, self.amp = token_path(network, dataset, amp), len(dataset), bool(amp)
        facts, known = getattr(dataset, "facts", None), []
        if path is not None and path.is_file():
            self.tokens: torch.Tensor = torch.load(path, weights_only=True)["tokens"]
        else:
            self.tokens = self._encode(network, dataset, batch_size, known if facts is None else None)
            if path is not None:
                save_atomically({"tokens": self.tokens}, path)
        if len(known) < count:
            rows = ((facts or dataset.__getitem__)(row) for row in range(count))
            known = [row["conditions"] for row in rows if "conditions" in row]
        self.conditions: torch.Tensor | None = torch.stack(known) if known else None

    @torch.no_grad()
    def _encode(self, network: Any, dataset: Dataset, batch_size: int, known: list | None) -> torch.Tensor:
        """Tokens of all rows, int32 (N, T); their conditions go to `known`.

        Nothing small is kept between the large arrays of two batches: it would pin the heap around them, and the memory
        of the process grows with every batch.
        """
        network.eval()
        device, found = next(network.parameters()).device, torch.empty(0)
        for first in tqdm(range(0, len(dataset), batch_size), desc="encode", mininterval=5.0):
            rows = [dataset[row] for row in range(first, min(first + batch_size, len(dataset)))]
            images = torch.stack([torch.as_tensor(row["image"]) for row in rows]).to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=self.amp):
                tokens = network.tokenise(images)
            if not first:
                found = torch.empty(len(dataset), tokens.shape[1], dtype=torch.int32)
            found[first : first + len(rows)] = tokens.cpu()
            if known is not None:
                known += [row["conditions"] for row in rows if "conditions" in row]
        return found

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, row: int) -> dict[str, Any]:
        if not 0 <= row < len(self):
            raise IndexError(row)
        found: dict[str, Any] = {"tokens": self.tokens[row].long(), "row": row}
        return found if self.conditions is None else {**found, "conditions": self.conditions[row]}


def token_path(network: Any, dataset: Any, amp: bool = False) -> Path | None:
    """Where the tokens of these images by these weights lie; None where images are not kept in files."""
    folder, name_of = getattr(dataset, "cache_dir", None), getattr(dataset, "cache_path", None)
    if not folder or name_of is None:
        return None
    names = "\n".join(name_of(row).name for row in range(len(dataset)))
    images = hashlib.sha256(names.encode()).hexdigest()[:12]
    return Path(folder) / f"tokens-{autoencoder_digest(network)}-{images}{'-amp' if amp else ''}.pt"
