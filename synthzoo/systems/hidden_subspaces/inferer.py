"""The audit of a generator's videos: read them, compare them with the training videos, write what was found.

Per video `<case>_reid.tsv` (the consistency curve), `<case>_reid.png` and the sidecar `<case>_reid.json`; for the set
`audit.tsv`, `audit.json` and `audit.png`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.transforms import MapTransform, Transform

from synthzoo.cases.images import ImageTable
from synthzoo.systems.hidden_subspaces.gallery import Gallery, embed_frames
from synthzoo.systems.hidden_subspaces.videos import find_videos, read_frames, resized


class VideoTable(ImageTable):
    """Videos as a data set: item -> {"image": path as text, "case": stem, "row": number}; see `ImageTable`.

    Args:
        images: a path, a list, a folder or a pattern: `.avi`, `.png` (one frame), NIfTI (time first), latents.
        channels: of a frame.
        kwargs: see `synthzoo.cases.images.ImageTable`.
    """

    def __init__(
        self, images: str | Path | Sequence[str | Path], channels: int = 1, suffix: str = "reid.tsv", **kwargs: Any
    ) -> None:
        self.channels = int(channels)
        super().__init__(images, channels=channels, suffix=suffix, **kwargs)

    def find(self, images: str | Path | Sequence[str | Path], exclude: str | Path | None = None) -> list[Path]:
        """The videos that a user means."""
        return find_videos(images, exclude, self.channels, self.bundle)

    @staticmethod
    def check(path: Path, channels: int = 1) -> None:
        """Read a video whole and raise what is wrong with it."""
        read_frames(path, channels)


class LoadVideod(MapTransform):
    """Read a path into a MetaTensor [C, T, H, W] float32 of the network's frame size; every fault is one sentence.

    Args:
        keys: keys of the sample that hold paths.
        size: side of the frames, or height and width.
        channels: C.
    """

    def __init__(
        self, keys: KeysCollection, size: int | Sequence[int] = 32, channels: int = 1, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.size, self.channels = size, int(channels)

    def __call__(self, data: dict) -> dict:
        data = dict(data)
        for key in self.key_iterator(data):
            frames, fps = read_frames(data[key], self.channels)
            frames = resized(frames, self.size).movedim(0, 1)
            data[key] = MetaTensor(frames, meta={"filename_or_obj": str(data[key])})
            data["fps"] = float(fps or 0)
        return data


class ReidInferer(Inferer):
    """Embeddings of all frames of videos; the gallery is embedded with the same network at the first call.

    Called with videos (B, C, T, H, W), or frames (B, C, H, W), and the network; returns (B, K, T) in (0, 1).

    Args:
        gallery: what the videos are compared with afterwards.
    """

    def __init__(self, gallery: Gallery) -> None:
        self.gallery = gallery

    def __call__(self, inputs: torch.Tensor, network: torch.nn.Module, *args: Any, **kwargs: Any) -> torch.Tensor:
        videos = torch.as_tensor(inputs).as_subclass(torch.Tensor)
        videos = videos[:, :, None] if videos.ndim == 4 else videos
        self.gallery.fit(network)
        found = [embed_frames(network, video.movedim(1, 0)).T for video in videos]
        return torch.stack(found).to(videos.device)


class AuditVideod(Transform):
    """Add to a sample what its embeddings `pred` [K, T] say against the gallery.

    Added: score, threshold, memorised (bool), nearest_video and nearest_patient (names), nearest (number), curve
    (float32 [T]), different_below, consistency (mean of the curve without its first frame, None for one frame),
    identity_break (number of a frame, or None), parts (see `Gallery.audit`), training and unseen (what was
    compared with).

    Args:
        gallery: the inferer's.
    """

    def __init__(self, gallery: Gallery) -> None:
        self.gallery = gallery

    def __call__(self, data: dict) -> dict:
        gallery = self.gallery
        found = gallery.audit(torch.as_tensor(data["pred"]).as_subclass(torch.Tensor).float().cpu().T)
        curve = found["curve"]
        unseen = None if gallery.unseen is None else {"name": gallery.unseen.name, "videos": len(gallery.unseen)}
        if unseen:
            unseen["training_videos_nearest"] = gallery.unseen_learned
        fps = float(data.get("fps", 0))
        return {
            **data,
            **found,
            "table": {
                "frame": list(range(len(curve))),
                "seconds": [number / fps if fps else None for number in range(len(curve))],
                "score": [float(value) for value in curve],
                "other_patient": [int(value < gallery.different) for value in curve],
            },
            "frames": len(curve),
            "threshold": gallery.threshold,
            "memorised": bool(found["score"] > gallery.threshold),
            "nearest_video": gallery.training.names[found["nearest"]],
            "nearest_patient": str(gallery.training.patients[found["nearest"]]),
            "different_below": gallery.different,
            "consistency": float(curve[1:].mean()) if len(curve) > 1 else None,
            "parts": [{**part, "nearest_video": gallery.training.names[part["nearest"]]} for part in found["parts"]],
            "training": {**gallery.identity, "patients": len(np.unique(gallery.training.patients))},
            "unseen": unseen,
        }
