"""D'ARTAGNAN: Counterfactual Video Generation (Reynaud et al., MICCAI 2022).

Link: https://arxiv.org/abs/2206.01651

Bundles: echo_us_counterfactual_twin

Departs from the paper: the generator moves tissue instead of painting pixels, so that a factual reconstruction is
exact.
"""
