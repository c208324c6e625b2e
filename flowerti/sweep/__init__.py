"""The number of synthetic images to use: trials, statistics and recommendation. It does not know about Ray."""
