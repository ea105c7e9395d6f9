"""Bundles as Android libraries."""
