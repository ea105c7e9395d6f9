"""The rules strategy of Mobiprox."""
