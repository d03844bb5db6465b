"""Morphology-preserving Autoregressive 3D Generative Modelling of the Brain (Tudosiu et al., SASHIMI at MICCAI 2022).

Link: https://arxiv.org/abs/2209.03177

Bundles: brain_mr_synthesis_autoregressive

Departs from the paper: full attention in place of a Performer; one model with conditions as context, as in the authors'
BrainSynth, each condition with directions of its own; positions begin as waves of coordinates; the begin token has no
probability; the small model restarts unused codes, learns stage 1 from patches, with a small critic late and without a
perceptual term, and computes in bfloat16.
"""
