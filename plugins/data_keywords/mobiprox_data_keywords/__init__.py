"""Spoken keywords."""
