"""Where labelled images come from: one file, or folder, for each data source."""
