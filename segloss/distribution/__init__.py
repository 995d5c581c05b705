"""The distribution family."""
