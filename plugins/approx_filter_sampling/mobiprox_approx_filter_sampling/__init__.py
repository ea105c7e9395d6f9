"""Filter sampling: every k-th filter element is skipped and the others are rescaled."""
