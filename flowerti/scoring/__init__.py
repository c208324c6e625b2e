"""How good drawn pictures are: distances, ranks, recognition, copies and names, from features alone."""
