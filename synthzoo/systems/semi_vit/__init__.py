"""Semi-supervised vision transformers at scale (Cai et al., NeurIPS 2022), for fine-grained classes.

Link: https://arxiv.org/abs/2208.05688

Bundles: garments_rgb_classification_semivit

Departs from the paper: small networks from random weights or from masked autoencoding on the same images; views that
keep fine cues; a teacher that forgets faster, as training is short; unlabelled images are any of the training images.
The use for fine-grained products is by Lagunas et al., arXiv 2305.10018, of which neither data nor tables are public.
"""
