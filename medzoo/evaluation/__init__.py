"""Evaluation: tables of predictions, metrics on them, and intervals around the metrics; no framework."""
