"""Q-Score: how good a self-supervised representation is, and for which images."""
