"""What filters kept, in the summary and on the page."""

from finished_run import page, run
from page_reader import section

from flowerti.artifacts.curation import AcceptanceRow, Curation, Judge
from flowerti.report import Findings, build_summary


def curation() -> Curation:
    rows = [
        AcceptanceRow(
            class_name=name, source="token", num_drawn=40, num_kept=kept, share_kept=kept / 40, mean_weight=0.75,
            refused={"top_share": 40 - kept, "no_copies": 1}, similarity_kept=0.91 if kept else None,
            similarity_refused=0.62, is_left_out=not kept,
        )
        for name, kept in (("azure & co", 10), ("bell", 0))
    ]  # fmt: skip
    judge = Judge(draw=0, temperature=1.5, accuracy=0.73, nll_before=1.2, nll_after=1.0)
    return Curation(filters=["top_share", "no_copies"], rows=rows, judges=[judge], sets=[])


def test_acceptance_and_its_price_are_shown():
    text = section(page(run(curation=curation())), "sweep")
    assert "Which images were kept" in text and "mean recall of 0.730" in text
    assert "azure & co learnt token 10 of 40 0.250 0.750 top_share 30, no_copies 1 0.910 0.620" in text
    assert "bell learnt token 0 of 40 0.000 0.750 top_share 40, no_copies 1; left out of the sweep – 0.620" in text


def test_the_summary_has_rows_and_judges_and_no_weight_of_single_images():
    summary = build_summary(Findings(**run(curation=curation())))
    assert [row["num_kept"] for row in summary["filters"]] == [10, 0]
    assert summary["filter_judges"][0]["temperature"] == 1.5
    assert "weights" not in str(summary["filters"])


def test_a_run_without_filters_shows_none():
    assert "Which images were kept" not in page(run())
    assert build_summary(Findings(**run()))["filters"] == []
