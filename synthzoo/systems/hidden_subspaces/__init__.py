"""Uncovering Hidden Subspaces in Video Diffusion Models Using Re-Identification (Dombrowski et al., 2024).

Link: https://arxiv.org/abs/2411.04956

Bundles: echo_us_privacy_audit_reid

Departs from the paper: a smaller residual network on pixels of phantoms; all pairs of a batch may enter the loss.
"""
