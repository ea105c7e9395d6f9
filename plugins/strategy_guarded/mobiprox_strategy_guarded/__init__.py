"""The guarded strategy of Mobiprox."""
