"""MONAI inferers: (inputs, network, ...) -> outputs."""
