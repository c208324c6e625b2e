"""Settings of a run chosen from a folder of images, a base and the machine, each with the reason as a clause."""
