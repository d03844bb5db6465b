"""Unsupervised brain imaging 3D anomaly detection and segmentation with transformers
(Pinaya et al., Medical Image Analysis 2022); What is Healthy? Generative Counterfactual Diffusion for Lesion
Localization (Sanchez et al., DGM4MICCAI 2022); Denoising diffusion models for out-of-distribution detection
(Graham et al., CVPR workshop VAND 2023): the anomaly maps of MONAI Generative.

Link: https://doi.org/10.1016/j.media.2022.102475

Bundles: brain_mr_anomaly_map_autoregressive, brain_mr_anomaly_map_ddpm

Departs from the paper: axial slices of heads in place of volumes, a brain extractor before the network, healed
residuals times the surprise of the codes in place of a smoothed mask, a limit from healthy codes for all scans,
guidance and reconstruction by DDIM in few steps, and maps that are corrected by healthy reference maps.
"""
