"""Single frames of clips, for networks that see one at a time."""

from __future__ import annotations

import torch
from torch.utils.data import Dataset


class ClipFrames(Dataset):
    """Rows {"image": float32 (1, H, W) in [0, 1]}: a frame of each clip, drawn again each time from torch's generator.

    Args:
        clips: rows with "video" (1, T, H, W) in [0, 1].
    """

    def __init__(self, clips: Dataset) -> None:
        self.clips = clips

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        video = self.clips[index]["video"]
        return {"image": video[:, int(torch.randint(video.shape[1], ()))]}
