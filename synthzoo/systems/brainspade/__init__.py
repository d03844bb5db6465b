"""Can Segmentation Models Be Trained with Fully Synthetically Generated Data? (Fernandez et al., SASHIMI 2022).

Link: https://arxiv.org/abs/2209.08256

Bundles: brain_mr_synthesis_spade

Departs from the paper: lesions are requested in millilitres in place of bits, with published divisors; the label
autoencoder ends in a softmax and learns by cross-entropy; the denoiser predicts velocity under guidance; the style code
stands beside the labels in every layer of the painter, whose style encoder has no instance norm; no VGG19 distance and
no classifier of modalities. `paper*.json` build the networks at the published sizes.
"""
