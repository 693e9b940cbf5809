"""What becomes of a network on data unlike its own."""
