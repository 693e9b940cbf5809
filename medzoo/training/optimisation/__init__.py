"""What updates weights: schedules, optimisers by groups of variables, freezing, averages."""
