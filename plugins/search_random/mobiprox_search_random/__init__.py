"""Configurations drawn at random."""
