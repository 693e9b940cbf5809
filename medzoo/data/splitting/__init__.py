"""Patients dealt to splits, fractions, subsets and folds, and the file that says so."""
