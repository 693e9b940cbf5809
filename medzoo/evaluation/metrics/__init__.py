"""How well scores tell classes apart: functions from Predictions to a number, and thresholds chosen on validation."""
