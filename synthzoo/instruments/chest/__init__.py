"""Instruments that measure chest radiographs: findings, lungs, heart and cardiothoracic ratio, and identity."""
