"""Deciding and doing weight surgery: rules → plan → tensors."""
