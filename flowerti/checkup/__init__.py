"""A look at somebody's images, base and settings before anything is started: census, problems, and a run's work."""
