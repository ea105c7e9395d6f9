"""Mobiprox on phones: the native runtime."""
