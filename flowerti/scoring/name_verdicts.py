"""Decides whether a class needs a learnt token or a name suffices, from the comparisons of one class.

The table of sources defines which source is judged and which are names. This module reads records; it does not know how
anything is computed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flowerti.artifacts.scores import Comparison, NameVerdict
from flowerti.scoring.metric_table import COMPARISON_METRIC
from flowerti.tables.sources import SOURCES, judged_source

_Found = Mapping[tuple[str, str], Comparison]
"""Comparisons of one class by (closer, than)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Roles:
    """The roles of the sources in the rule."""

    judged: str
    class_name: str
    """The first name that has no rivals."""
    other_names: tuple[str, ...]


def _roles() -> _Roles:
    names = [source for source in SOURCES if source.is_name]
    class_name = next(source.name for source in names if not source.rivals)
    others = tuple(source.name for source in names if source.name != class_name)
    return _Roles(judged=judged_source(), class_name=class_name, other_names=others)


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

    Rules 2 and 3 choose the cheaper option if the more expensive one is not shown to be better; this does not prove
    equality. Intervals are not adjusted for the number of classes: of twenty classes without any difference about one
    gets a verdict by chance.

    Args:
        class_name: the class to judge.
        comparisons: of one feature extractor; those of other classes, metrics and splits are ignored.
        reference: split of the real images.

    Raises:
        ValueError: a comparison of the class is given twice; names it.
    """
    found: dict[tuple[str, str], Comparison] = {}
    for one in comparisons:
        if (one.class_name, one.metric, one.reference) != (class_name, COMPARISON_METRIC, reference):
            continue
        if (one.closer, one.than) in found:
            raise ValueError(
                f"class {class_name!r}: {one.closer} is compared with {one.than} twice; "
                "pass the comparisons of one feature extractor"
            )
        found[one.closer, one.than] = one
    roles = _roles()
    verdict = _decide(roles, found)
    reason = _reason(roles, verdict, found)
    return NameVerdict(class_name=class_name, verdict=verdict, reason=reason, reference=reference)


def _decide(roles: _Roles, found: _Found) -> str:
    judged, class_name = roles.judged, roles.class_name
    to_class_name = found.get((judged, class_name))
    tried = [name for name in roles.other_names if (name, class_name) in found or (judged, name) in found]
    if _is_nearer(to_class_name) and all(_is_nearer(found.get((judged, name))) for name in tried):
        return "token"
    for name in tried:
        to_other_name = found.get((judged, name))
        is_better = _is_nearer(found.get((name, class_name)))
        if is_better and _has_interval(to_other_name) and not _is_nearer(to_other_name):
            return "better_name_is_enough"
    if to_class_name is not None and to_class_name.high is not None and to_class_name.high <= 0:
        return "class_name_is_enough"
    return "undecided"


def _is_nearer(comparison: Comparison | None) -> bool:
    return comparison is not None and comparison.low is not None and comparison.low > 0


def _has_interval(comparison: Comparison | None) -> bool:
    return comparison is not None and comparison.low is not None and comparison.high is not None


def _reason(roles: _Roles, verdict: str, found: _Found) -> str:
    judged, plain = SOURCES[roles.judged].label, SOURCES[roles.class_name].label
    heads = {
        "token": f"The {judged} lies nearer to the real images than every name that was tried",
        "better_name_is_enough": f"Another name lies nearer to the real images than the {plain}, and the {judged} is "
        "not shown to be nearer than it",
        "class_name_is_enough": f"The {judged} lies no nearer to the real images than the {plain}",
        "undecided": f"The intervals do not decide between {judged} and names",
    }
    others = [(roles.judged, name) for name in roles.other_names]
    others += [(name, roles.class_name) for name in roles.other_names]
    order = ((roles.judged, roles.class_name), *others)
    numbers = [_numbers(found[pair]) for pair in order if pair in found]
    if not numbers:
        return f"There is no comparison of a {judged} with a name."
    return f"{heads[verdict]}: {'; '.join(numbers)}."


def _numbers(comparison: Comparison) -> str:
    closer, than = SOURCES[comparison.closer].label, SOURCES[comparison.than].label
    pair = f"{closer} nearer than {than} by {comparison.difference:.3g}"
    if comparison.low is None or comparison.high is None:
        return f"{pair} (no interval)"
    return f"{pair} (95 % interval {comparison.low:.3g} to {comparison.high:.3g})"
