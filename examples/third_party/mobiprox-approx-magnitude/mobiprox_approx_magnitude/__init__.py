"""Mobiprox leaves out the filter elements whose weights are smallest."""
