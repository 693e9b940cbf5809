"""Views that give foreign tensors Keras's names and axis order."""
