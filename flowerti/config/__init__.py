"""Settings: what a run is told, checked when it is built; and the presets. Nothing here opens a file."""
