"""Convolutions and dense layers in 8-bit integers, quantised after training."""
