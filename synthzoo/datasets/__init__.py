"""Readers of training and test data: phantoms as rows, published layouts, and batches of them."""
