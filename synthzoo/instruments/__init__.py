"""Independent measurement models: each with its training, its calibration and its stated error."""
