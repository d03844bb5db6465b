"""Confidence-aware and self-supervised image anomaly localisation (Mueller et al., MICCAI-UNSURE 2023).

Link: https://arxiv.org/abs/2303.13227

Bundles: chest_xr_anomaly_map_ppii

Departs from the paper: of which only the task's generator was published, so the networks, their losses and the numbers
of the evaluation are ours; labels are clipped to 1; a share of pairs has a smooth change of intensity instead, which
blending alone does not show.
"""
