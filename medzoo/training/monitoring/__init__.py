"""What is seen of a training run: progress, history, curves, event files."""
