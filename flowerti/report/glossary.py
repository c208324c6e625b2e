"""The page's words of the field, each with a sentence; the first use of each on a page leads there.

This module knows nothing about a run.
"""

from markupsafe import Markup, escape

TERMS = {
    "weak-class": ("weak class", "A class in which the first classifier does badly on validation; the rule is quoted."),
    "f1": ("F1", "The harmonic mean of precision and recall, from 0 to 1. Of several classes: their mean (macro-F1)."),
    "arm": ("arm", "One way to train the classifier: which images it sees, how often, under which loss."),
    "control": ("free control", "An arm that needs no synthetic image, such as balanced sampling."),
    "level": ("level", "How many synthetic images an arm mixes in: × for each real one, or p, in place of a real one."),
    "interval": ("95 % interval", "From repetitions and held-out images; what else could vary is not in it."),
    "detectable": ("smallest detectable effect", "The true gain that four in five runs like this one would find."),
    "opening": ("test opening", "Each time that test images or labels were used; every one is logged."),
    "token": ("token", "A new word of the base model, learnt from the training images of one class."),
    "base": ("base", "The text-to-image model that draws; it is frozen while a token is learnt."),
    "ceiling": ("ceiling", "What unseen real images would gain at most, measured in classes that have some to spare."),
    "floor": ("floor", "The same distance between two halves of the real images: what is left where nothing is wrong."),
    "holm": ("Holm", "p-values corrected for how many were looked at together, by Holm's method."),
    "kernel": (
        "kernel distance",
        "How far two sets of images are apart in a network's features; no bias by their number.",
    ),
    "own-class": ("P(own class)", "How sure a classifier of real images is that an image shows its intended class."),
    "similarity": ("similarity", "Cosine of the features of an image and of the nearest training image of its class."),
}
"""Key -> word and sentence, in the order of the glossary."""


class Glossary:
    """Links a word at its first use; made anew for each page."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def __call__(self, key: str, text: str = "") -> Markup:
        """The word, or the text in its place; a link to the glossary the first time."""
        shown = escape(text or TERMS[key][0])
        if key in self._used:
            return shown
        self._used.add(key)
        return Markup('<a class="term" href="#term-{}">{}</a>').format(key, shown)
