"""Sample anonymity of score-based generative models by adversarial fingerprints (Dombrowski and Kainz, 2023).

Paper: Quantifying Sample Anonymity in Score-Based Generative Models with Adversarial Fingerprinting.
Link: https://arxiv.org/abs/2306.01363; a later version is "Can Diffusion Models Generalize? Privacy and Fairness
Trade-offs for Medical Data Sharing", MIDL 2025.

Bundles: chest_xr_privacy_audit_fingerprint

Departs from the paper: a small preconditioned denoiser on linear patch codes of phantoms in place of Stable Diffusion's
latents; small detectors; sets of 16 to 1024 images; the bound through the noise level is spelled out in `bounds`.
"""
