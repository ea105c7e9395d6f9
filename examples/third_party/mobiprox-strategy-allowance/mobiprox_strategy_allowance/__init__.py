"""Mobiprox spends a given share of the exact network's cost."""
