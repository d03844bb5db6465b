"""Ejection fraction (EF) and fidelity measured on an echo video alone."""
