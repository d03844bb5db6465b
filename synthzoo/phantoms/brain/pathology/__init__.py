"""Sick brains: tumours, bleedings, resections, strokes and white matter disease in healthy anatomies, by the mL."""
