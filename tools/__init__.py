"""Checks the catalogue, generates what follows from it, and starts new entries. Not part of the installed package."""
