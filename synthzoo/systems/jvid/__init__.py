"""JVID: Joint Video-Image Diffusion for Visual-Quality and Temporal-Consistency in Video Generation
(Reynaud et al., 2024).

Link: https://arxiv.org/abs/2409.14149

Bundles: echo_us_cine_synthesis_jvid

Departs from the paper: echocardiograms instead of natural video; the schedules by which the two denoisers take turns
are our own where the paper's are unknown.
"""
