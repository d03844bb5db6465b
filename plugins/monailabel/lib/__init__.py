"""Parts of the MONAI Label app; what is not MONAI Label's stands in synthzoo.serving."""
