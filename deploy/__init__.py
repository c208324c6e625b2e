"""A cluster on AWS, Google Cloud or Kubernetes: the files that describe it, and the check of them (`deploy.check`)."""
