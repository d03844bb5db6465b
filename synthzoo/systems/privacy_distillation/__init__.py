"""Privacy Distillation: Reducing Re-identification Risk of Diffusion Models (Fernandez et al., MICCAI-DGM4 2023).

Link: https://arxiv.org/abs/2306.01322

Bundles: chest_xr_privacy_distillation

Departs from the paper: conditions are findings and sex in place of report text, the filter's threshold is calibrated
on unseen patients, and judges that filter nothing stand beside the filter's own network. `paper.json` builds the
networks at the paper's scale.
"""
