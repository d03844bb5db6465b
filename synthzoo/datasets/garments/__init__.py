"""Garments as rows: phantoms that are drawn once and then read."""
