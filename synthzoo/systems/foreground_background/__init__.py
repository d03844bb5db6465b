"""Foreground-background separation through concept distillation from generative image foundation models (Dombrowski
et al., ICCV 2023).

Link: https://arxiv.org/abs/2212.14306

Bundles: scenes_rgb_segmentation_concept

Departs from the paper: the shipped network is small, trained from nothing on painted scenes with captions, with an
autoencoder of its own, a vocabulary of words and a frozen encoder of random embeddings in place of Stable Diffusion 1.4
and CLIP, and it predicts velocities; its segmenter has a channel for each of four concepts, learns with a Dice loss
beside the cross-entropy and sees the whole image; what a removal changed is taken against the image as the autoencoder
gives it back, and pixels away from the mask are that image; layers, timesteps and growth of masks were chosen on
validation scenes. The published scale is in `configs/paper.json`.
"""
