"""Configuration, the loop, and the run directory."""
