"""Energy from a Monsoon power monitor."""
