"""Settings of a run, validated when they are created, and presets. Nothing here opens a file."""
