"""The compound family."""
