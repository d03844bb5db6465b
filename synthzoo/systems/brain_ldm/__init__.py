"""Brain Imaging Generation with Latent Diffusion Models (Pinaya et al., DGM4MICCAI 2022).

Link: https://arxiv.org/abs/2209.07162

Bundles: brain_mr_synthesis_ldm

Departs from the paper: the small autoencoder works on patches of voxels and has a linear path; the small U-Net adds to
a closed-form linear denoiser. `paper*.json` builds both networks as published.
Beyond the paper, the prior works on scans: it fills, denoises, reconstructs and edits them and goes from one to another
(`inferer.py`; the papers are named in `restoration.py` and `editing.py`).
"""
