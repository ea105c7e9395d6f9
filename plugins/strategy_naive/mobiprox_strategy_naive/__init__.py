"""The naive adaptation strategy of Mobiprox."""
