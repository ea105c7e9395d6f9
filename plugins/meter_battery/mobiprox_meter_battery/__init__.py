"""Energy from the gauge of a battery."""
