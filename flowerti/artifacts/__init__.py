"""What passes between stages, as typed records, and the run directory that keeps it. It knows no stage."""
