"""Chest phantoms: one attenuation model whose volume is a CT and whose projection is a radiograph."""
