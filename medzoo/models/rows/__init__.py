"""Rows of the catalogue by family, as plain data: options, what of them may be changed, and the stages they lay.

A module of this package holds `ROWS` (row → its complete options), `CHANGES` (option that a user may change → the
allowed values, in words) and `describe_row(name, options)`, which checks the options and gives the `ModelSpec`.
"""
