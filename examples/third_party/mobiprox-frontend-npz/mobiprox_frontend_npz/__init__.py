"""Mobiprox reads dense networks from the weights in an .npz file."""
