"""Generating Multi-Pathological and Multi-Modal Images and Labels for Brain MRI (Fernandez et al., MedIA 2024).

Link: https://doi.org/10.1016/j.media.2024.103278

Bundles: brain_mr_synthesis_spade3d

Departs from the paper: lesions are requested in millilitres in place of fractions of the data set's largest; the label
autoencoder ends in a softmax and learns by cross-entropy, without an adversary; blocks of voxels are channels, and
autoencoder and painter learn on patches; the denoiser adds to a linear one in closed form and predicts velocity; no
MedicalNet distance and no classifier of modalities. Beyond it, and by no network of it: a segmenter that is trained on
phantoms of the same kind alone, and lesions that are placed into scans and healed out of them. `paper*.json` build the
networks at the published sizes.
"""
