"""Which classes the classifier takes for one another.

This module uses the report on the validation split alone, and does not know what the answer is for.
"""

from flowerti.artifacts.records import ClassifierReport


def confusable(report: ClassifierReport, class_name: str) -> list[str]:
    """The other classes whose images were taken for this one, or this one's for theirs: the most often confused first.

    Args:
        report: of the classifier, with its confusion matrix.
        class_name: a class of the report.

    Returns:
        None of those that were never confused with it; equal numbers in the order of the report.

    Raises:
        ValueError: the report does not know the class.
    """
    names = [score.class_name for score in report.classes]
    if class_name not in names:
        raise ValueError(f"classifier/report.json has no class {class_name!r}: delete it, the run makes it again")
    own = names.index(class_name)
    counts = {name: report.confusion[own][i] + report.confusion[i][own] for i, name in enumerate(names) if i != own}
    return sorted((name for name, count in counts.items() if count), key=lambda name: -counts[name])
