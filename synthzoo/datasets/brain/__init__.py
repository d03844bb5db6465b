"""Brain scans and brain phantoms as rows for training and evaluation."""
