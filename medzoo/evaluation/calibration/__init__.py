"""How far probabilities can be believed, and what makes them more believable."""
