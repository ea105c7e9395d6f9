"""Your own arrays."""
