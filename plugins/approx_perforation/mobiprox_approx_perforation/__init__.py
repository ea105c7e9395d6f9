"""Perforation: output rows or columns of a convolution are skipped, then interpolated."""
