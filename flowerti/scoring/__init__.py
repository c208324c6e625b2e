"""How good drawn images are: distances, ranks, recognition, copies and names, from features alone."""
