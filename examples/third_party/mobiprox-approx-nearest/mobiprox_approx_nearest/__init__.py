"""Mobiprox copies output lines from their nearest neighbour."""
