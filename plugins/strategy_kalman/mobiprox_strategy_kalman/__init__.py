"""The Kalman strategy of the Mobiprox app."""
