"""Many tasks make light work: Learning to localise medical anomalies from multiple synthetic tasks
(Baugh et al., MICCAI 2023).

Link: https://arxiv.org/abs/2307.00899

Bundles: brain_mr_anomaly_map_manytasks

Departs from the paper: slices of heads instead of volumes, a brain extractor before the network, a start common to all
members, cross-entropy on logits, and a map that is corrected by a healthy reference map. Training also plants large
filled anomalies (`large`), and shows remains of the head and cut fields of view as normal (`context`).
"""
