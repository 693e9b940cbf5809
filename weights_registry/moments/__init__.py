"""Moments files: per tensor a name, a role, a shape, a mean and a standard deviation."""
