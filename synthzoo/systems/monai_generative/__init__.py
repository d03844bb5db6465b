"""Generative AI for Medical Imaging: extending the MONAI Framework (Pinaya et al., arXiv 2023).

Link: https://arxiv.org/abs/2307.15208

Bundles: brain_mr_translation_controlnet, brain_mr_superresolution_ldm

Departs from the paper: translation has the contrast as a class in place of a prompt and no guidance, one network for
all pairs, few steps, and stacks slices to volumes; super-resolution samples what a regression misses of the detail,
with the scan's own noise as the level, for voxels of any size. `paper*.json` build the networks at the published sizes.
"""
