"""Generative AI for Medical Imaging: extending the MONAI Framework (Pinaya et al., arXiv 2023).

Link: https://arxiv.org/abs/2307.15208

Bundles: brain_mr_translation_controlnet

Departs from the paper: translation has the contrast as a class in place of a prompt and no guidance, one network for
all pairs, few steps, and stacks slices to volumes. `paper*.json` build the networks at the published sizes.
"""
