"""One training step, and what makes it fast: precision, XLA, fused batch norm, several devices."""
