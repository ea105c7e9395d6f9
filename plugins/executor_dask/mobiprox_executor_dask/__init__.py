"""Profiling and measuring on the workers of a Dask cluster."""
