"""The cascade strategy of Mobiprox."""
