"""Evaluations that need several rooms at once: teaching beside sampling, privacy beside fidelity."""
