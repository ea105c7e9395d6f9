"""Mobiprox on phones: the native runtime, driven over adb."""
