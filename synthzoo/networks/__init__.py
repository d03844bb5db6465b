"""Modules x -> y; a bundle has one composite network and one state dict."""
