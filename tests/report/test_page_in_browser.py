"""The page in Chromium: within a phone, accessible in light and dark, usable by keys, whole on paper."""

import shutil
from pathlib import Path

import pytest
from finished_run import HOSTILE, gallery, page, run
from finished_scores import FOURTEEN, class_names
from PIL import Image

from flowerti.report.web_images import thumbnail

pytestmark = [
    pytest.mark.browser,
    # Playwright's loop closes its transports late
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

RESULTS = Path(__file__).parents[2] / "results"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
NAMES = [*HOSTILE, *FOURTEEN]


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium, driven by Playwright."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright, of the group dev")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A page with hostile names and ten images of each set, and the kept pages."""
    import numpy as np

    image = thumbnail(np.asarray(Image.linear_gradient("L").convert("RGB").resize((64, 64))))
    shown = [one.__class__(**{**_fields(one), "thumbnail": image}) for one in gallery(NAMES[:3])]
    file = tmp_path_factory.mktemp("page") / "report.html"
    nearest = {f"{NAMES[0]}/train/{i}": image for i in range(3)}
    file.write_text(page(run(NAMES), gallery=shown, nearest=nearest), encoding="utf-8")
    return {"hostile": file} | {path.parent.name: path for path in sorted(RESULTS.glob("*/report.html"))}


def _fields(one):
    return {name: getattr(one, name) for name in one.__dataclass_fields__}


KEPT = ["hostile", "demo", "flowers102-64", "flowers102-64-long-tail"]


def opened(browser, file, width=1400, scheme="light", **context):
    """A tab with the page, and everything that it complained of or asked for."""
    tab = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **context).new_page()
    told = []
    tab.on("console", lambda message: told.append(message.text))
    tab.on("pageerror", lambda error: told.append(str(error)))
    tab.on("dialog", lambda dialog: told.append(dialog.message))
    tab.on("request", lambda asked: told.append(asked.url) if not asked.url.startswith(("file:", "data:")) else None)
    tab.goto(file.as_uri())
    return tab, told


@pytest.mark.parametrize("name", KEPT)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_reaches_beyond_a_phone_and_nothing_is_asked_for(browser, pages, name, scheme):
    tab, told = opened(browser, pages[name], 390, scheme)
    tab.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    assert told == []
    tab.context.close()


@pytest.mark.parametrize("name", KEPT)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser, pages, name, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    tab, _ = opened(browser, pages[name], 1400, scheme, bypass_csp=True)
    tab.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    found = axe.Axe().run(tab).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found] == []
    tab.context.close()


def test_without_a_script_the_first_images_of_each_set_stand_there(browser, pages):
    tab, _ = opened(browser, pages["hostile"], java_script_enabled=False)
    assert tab.locator(".set").count() == 12
    assert tab.locator(".set li:visible").count() == 12 * 8
    assert tab.locator("#tools").is_hidden()
    assert tab.locator("svg.forest text", has_text="learnt token").first.is_visible()
    tab.context.close()


def test_the_gallery_is_filtered_sorted_and_opened(browser, pages):
    tab, told = opened(browser, pages["hostile"])
    tab.select_option("#tools [name=class]", label=NAMES[0])
    tab.select_option("#tools [name=source]", "token")
    tab.select_option("#tools [name=sort]", "similarity")
    tab.check("#tools [name=every]")
    shown = tab.locator(".set li:visible button")
    places = [shown.nth(i).get_attribute("data-similarity") for i in range(shown.count())]
    assert len(places) == 10 and places == sorted(places, reverse=True)
    shown.first.focus()
    tab.keyboard.press("Enter")
    text = tab.locator("dialog").inner_text()
    assert f'prompt: Photo of a "{NAMES[0]}"' in text and "seed: 100" in text and "P(own class): 0" in text
    assert f"nearest training image: {NAMES[0]}/train/0" in text
    tab.keyboard.press("ArrowRight")
    assert "seed: 101" in tab.locator("dialog").inner_text()
    tab.keyboard.press("Escape")
    assert tab.locator("dialog").is_hidden()
    assert tab.evaluate("document.activeElement.dataset.seed") == "101"
    assert told == []
    tab.context.close()


def test_a_table_is_sorted_by_its_head_and_its_file_says_the_same(browser, pages):
    tab, _ = opened(browser, pages["hostile"])
    tab.locator("#weak").click()
    table = tab.locator("details:has(#weak) table").last
    before = table.locator("tbody tr").first.inner_text()
    head = table.locator("thead button", has_text="training images")
    head.focus()
    tab.keyboard.press("Enter")
    numbers = [int(text) for text in table.locator("tbody tr td:last-child").all_inner_texts()]
    assert numbers == sorted(numbers) and table.locator("tbody tr").first.inner_text() != before
    with tab.expect_download() as waiting:
        tab.locator("details:has(#weak) .csv a").last.click()
    lines = Path(waiting.value.path()).read_text(encoding="utf-8").splitlines()
    assert lines[0] == "class,F1,,precision,recall,validation images,training images"
    assert len(lines) == 1 + len(NAMES)
    tab.context.close()


def test_a_link_opens_the_part_that_it_leads_to(browser, pages):
    tab, _ = opened(browser, pages["demo"])
    tab.locator("a[href='#term-f1']").first.click()
    tab.locator("#term-f1").wait_for(state="visible")
    tab.context.close()


def test_paper_holds_everything(browser, pages):
    tab, _ = opened(browser, pages["demo"])
    tab.emulate_media(media="print")
    width = 1046  # pixels of A4 landscape less its margins
    tab.set_viewport_size({"width": width, "height": 700})
    closed = (
        "[...document.querySelectorAll('details:not([open]) td')].filter((one) => !one.getClientRects().length).length"
    )
    assert tab.evaluate(closed) == 0
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    ends = tab.evaluate("[...document.querySelectorAll('table')].map((one) => one.getBoundingClientRect().right)")
    assert max(ends) <= width + 1
    assert tab.pdf(prefer_css_page_size=True).startswith(b"%PDF")
    tab.context.close()


def test_many_classes_and_long_names_stay_within_a_phone(browser, tmp_path):
    file = tmp_path / "report.html"
    file.write_text(page(run(["x" * 300, *class_names(102)], num_weak=26)), encoding="utf-8")
    tab, _ = opened(browser, file, 390)
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    tab.context.close()
