"""NSGA-II on measured points."""
