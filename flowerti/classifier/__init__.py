"""The classifier: its training, how good it is, and which classes it is weak on. It knows no synthetic image."""
