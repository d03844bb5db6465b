"""One recipe, many modalities: generators of all modalities under one feature network, beside real against real.

Pinaya et al., "Generative AI for Medical Imaging: extending the MONAI Framework" (arXiv 2307.15208), table 1.
"""
