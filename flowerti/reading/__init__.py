"""A run directory read from Python: results as tables, images as images. Nothing here writes to one."""
