"""Feature-Conditioned Cascaded Video Diffusion Models for Precise Echocardiogram Synthesis (EchoDiffusion; Reynaud
et al., MICCAI 2023).

Link: https://arxiv.org/abs/2303.12644

Bundles: echo_us_cine_synthesis_edm

Departs from the paper: small factorised U-Nets in place of Imagen's; a best-of-n choice by an EF regressor on request.
"""
