"""Energy from the RAPL counters of Intel and AMD processors."""
