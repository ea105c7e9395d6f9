"""The confidence-driven adaptation strategy of Mobiprox."""
