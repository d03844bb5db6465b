"""Trade-offs in fine-tuned diffusion models between accuracy and interpretability (Dombrowski et al., AAAI 2024).

Link: https://arxiv.org/abs/2303.17908

Bundles: chest_xr_grounding_text2image

Departs from the paper: the shipped network is small, trained from nothing on chest phantoms, with an autoencoder of its
own, a vocabulary of words and a frozen encoder of random embeddings in place of Stable Diffusion 2 and OpenCLIP, and it
predicts velocities; layers and timesteps of the maps were chosen on validation patients; what a prompt denies is left
out. The published scale is in `configs/paper.json`.
"""
