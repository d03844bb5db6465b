"""Echocardiogram phantoms whose ejection fraction (EF) is known exactly."""
