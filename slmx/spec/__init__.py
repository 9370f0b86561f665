"""Specs: typed, closed, checked before anything starts, and loaded without torch."""
