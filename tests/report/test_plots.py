"""Places of marks: order, scale and ends by hand."""

import pytest

from flowerti.report.plots import LEFT, RIGHT, forest, ratio_panels, sparkline, ticks


def row(arm, ratio, gain, split="test"):
    ends = {"weak_gain_low": gain - 0.1, "weak_gain_high": gain + 0.1}
    return {"split": split, "arm": arm, "ratio": ratio, "weak_gain": gain, "weak_f1": 0.4 + gain} | ends


def summary(*rows):
    arms = [{"name": "token", "source": "token", "level": "ratio"}, {"name": "balanced", "source": "", "level": "none"}]
    return {"sweep": list(rows), "arms": arms, "verdict": None, "best_control": "balanced", "judged_arm": "token"}


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(-0.1, 0.1, [-0.1, -0.05, 0.0, 0.05, 0.1]), (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]), (0.3, 0.3, [0.3])],
)
def test_ticks_are_round(low, high, expected):
    assert ticks(low, high) == expected


def test_the_forest_is_sorted_and_fills_its_width():
    rows = [row("real", 0.0, 0.0), row("balanced", 0.0, 0.0), row("token", 2.0, 0.1)]
    drawn = forest(summary(*rows), {("token", 2.0): "learnt token, 2", ("balanced", 0.0): "balanced sampling " * 4})
    token, balanced = drawn["rows"]
    assert (token["row"]["arm"], token["mark"], token["lines"]) == ("token", "with the token", ["learnt token, 2"])
    assert (token["x_high"], balanced["x_low"]) == (RIGHT, LEFT)
    assert balanced["x"] == drawn["zero"] == pytest.approx((LEFT + token["x"]) / 2, abs=0.01)
    assert len(balanced["lines"]) > 1 and balanced["has_images"] is False
    assert drawn["height"] > balanced["bar"] > token["bar"]
    assert forest(summary(), {})["rows"] == []


def test_a_panel_has_a_line_for_validation_and_a_point_for_test():
    rows = [row("token", ratio, ratio / 10, "validation") for ratio in (1.0, 2.0, 4.0)]
    (panel,) = ratio_panels(summary(*rows, row("token", 2.0, -0.1)))
    assert len(panel["path"].split()) == 3
    assert [point["split"] for point in panel["points"]].count("test") == 1
    higher, lower = (next(p for p in panel["points"] if p["row"] == one) for one in (rows[2], rows[0]))
    assert higher["y"] < lower["y"] < panel["zero"]
    assert ratio_panels(summary(row("balanced", 0.0, 0.1))) == []


def test_a_sparkline_falls_with_its_values():
    assert sparkline([3.0, 2.0, 1.0]) == "2.0,2.0 60.0,16.0 118.0,30.0"
    assert sparkline([1.0, 1.0]) == "2.0,2.0 118.0,2.0"
