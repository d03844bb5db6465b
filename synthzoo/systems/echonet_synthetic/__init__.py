"""EchoNet-Synthetic: Privacy-preserving Video Generation for Safe Medical Data Sharing (Reynaud et al., MICCAI 2024).

Link: https://arxiv.org/abs/2406.00808

Bundles: echo_us_cine_synthesis_ldm

Departs from the paper: one composite network, few-step samplers, and overlapping windows that are joined at every
reverse step. `paper.json` builds the networks as published.
"""
