"""Weights files as lazy sources, and the cards that name them."""
