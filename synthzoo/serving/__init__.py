"""Bundles that stay warm and answer requests: typed options, a memory limit, fine-tuning; knows no server."""
