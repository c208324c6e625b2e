"""How many images to mix in: trials, their statistics, and the recommendation. It knows nothing about Ray."""
