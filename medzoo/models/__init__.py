"""Architectures: the catalogue, the builders, and what a transplant must fill."""
