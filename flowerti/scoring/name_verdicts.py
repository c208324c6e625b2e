"""Whether a class needs a learnt token, or a name is enough: a rule on the comparisons of one class.

This module reads records; it does not know how anything is computed.
"""

from collections.abc import Sequence

from flowerti.artifacts.scores import Comparison, NameVerdict

_METRIC = "kernel"
_OTHER_NAMES = ("alternative_name", "latin_name")
_WORDS = {"raw": "class name", "alternative_name": "other name", "latin_name": "Latin name", "token": "token"}


def name_verdict(class_name: str, comparisons: Sequence[Comparison], reference: str) -> NameVerdict:
    """Judge one class by the 95 % intervals of its kernel comparisons.

    "Shown nearer" means that the interval of the difference lies above 0. The first rule that holds decides:

    1. `token`: the token is shown nearer to the real images than every name that was tried, the class name among
       them.
    2. `better_name_is_enough`: another name is shown nearer than the class name, and the token is not shown nearer than
       that other name.
    3. `class_name_is_enough`: the token is shown to be no nearer than the class name: the interval does not reach
       above 0.
    4. `undecided`: anything else, also where a comparison or its interval is missing.

    Rules 2 and 3 choose the cheaper means where nothing shows that the dearer one is better; that is no proof of
    equality. Intervals are not corrected for the number of classes: of twenty classes without any difference about one
    gets a verdict by chance.

    Args:
        class_name: the class to judge.
        comparisons: of one feature extractor; those of other classes, metrics and splits are passed over.
        reference: split of the real images.

    Raises:
        ValueError: two comparisons of the class say the same; names it.
    """
    found: dict[tuple[str, str], Comparison] = {}
    for one in comparisons:
        if (one.class_name, one.metric, one.reference) != (class_name, _METRIC, reference):
            continue
        if (one.closer, one.than) in found:
            raise ValueError(
                f"class {class_name!r}: {one.closer} is compared with {one.than} twice; "
                "pass the comparisons of one feature extractor"
            )
        found[one.closer, one.than] = one
    verdict = _decide(found)
    return NameVerdict(class_name=class_name, verdict=verdict, reason=_reason(verdict, found), reference=reference)


def _decide(found: dict[tuple[str, str], Comparison]) -> str:
    to_class_name = found.get(("token", "raw"))
    tried = [name for name in _OTHER_NAMES if (name, "raw") in found or ("token", name) in found]
    if _is_nearer(to_class_name) and all(_is_nearer(found.get(("token", name))) for name in tried):
        return "token"
    for name in tried:
        to_other_name = found.get(("token", name))
        if _is_nearer(found.get((name, "raw"))) and _has_interval(to_other_name) and not _is_nearer(to_other_name):
            return "better_name_is_enough"
    if to_class_name is not None and to_class_name.high is not None and to_class_name.high <= 0:
        return "class_name_is_enough"
    return "undecided"


def _is_nearer(comparison: Comparison | None) -> bool:
    return comparison is not None and comparison.low is not None and comparison.low > 0


def _has_interval(comparison: Comparison | None) -> bool:
    return comparison is not None and comparison.low is not None and comparison.high is not None


def _reason(verdict: str, found: dict[tuple[str, str], Comparison]) -> str:
    heads = {
        "token": "The token lies nearer to the real images than every name that was tried",
        "better_name_is_enough": "Another name lies nearer to the real images than the class name, and the token is "
        "not shown to be nearer than it",
        "class_name_is_enough": "The token lies no nearer to the real images than the class name",
        "undecided": "The intervals do not decide between token and names",
    }
    others = [("token", name) for name in _OTHER_NAMES] + [(name, "raw") for name in _OTHER_NAMES]
    order = (("token", "raw"), *others)
    numbers = [_numbers(found[pair]) for pair in order if pair in found]
    if not numbers:
        return "There is no comparison of a token with a name."
    return f"{heads[verdict]}: {'; '.join(numbers)}."


def _numbers(comparison: Comparison) -> str:
    pair = f"{_WORDS[comparison.closer]} nearer than {_WORDS[comparison.than]} by {comparison.difference:.3g}"
    if comparison.low is None or comparison.high is None:
        return f"{pair} (no interval)"
    return f"{pair} (95 % interval {comparison.low:.3g} to {comparison.high:.3g})"
