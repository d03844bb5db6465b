"""Fidelity, conditioning, localisation and memorisation figures, and the instruments that measure them."""
