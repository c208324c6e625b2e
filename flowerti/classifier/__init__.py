"""The classifier: training, evaluation, and selection of weak classes. It does not know about synthetic images."""
