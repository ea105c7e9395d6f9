"""Energy from the power rails of a phone."""
