"""Instruments that measure chest radiographs: findings with their places, cardiothoracic ratio, and identity."""
