"""The embedded data set: flowers drawn by rule."""
