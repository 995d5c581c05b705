"""Adapters of the compound family."""

from tests.parity.adapters.words import Adapter

ADAPTERS: dict[str, Adapter] = {}
