"""Human activity recognition."""
