"""Echo videos and echo phantoms as rows for training and evaluation."""
