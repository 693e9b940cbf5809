"""How much a number would vary: draws, intervals, paired tests, several seeds, several hypotheses."""
