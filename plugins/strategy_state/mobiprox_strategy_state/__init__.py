"""The state-driven adaptation strategy of Mobiprox."""
