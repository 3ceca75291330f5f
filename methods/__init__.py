"""The methods, one folder per paper (the top-level folder `methods/`)."""
