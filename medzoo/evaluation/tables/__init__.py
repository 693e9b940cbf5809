"""Files of predictions: their columns and what they mean."""
