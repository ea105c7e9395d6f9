"""Multiple-choice knapsack over a measured profile."""
