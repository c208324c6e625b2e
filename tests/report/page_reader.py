"""Reads what a report is made of: the tags and the text of its page, the pixels of its figures."""

import io
from html.parser import HTMLParser

import numpy as np
from PIL import Image


def pixels(png):
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    image = Image.open(io.BytesIO(png))
    assert image.info == {}, "a PNG with metadata differs between versions or days"
    return np.asarray(image)


class Elements(HTMLParser):
    """Every tag with its attributes, and the text of the page."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self.open = [], "", []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.text += " " if tag == "small" else ""
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.text += " " if tag in ("td", "th", "dt", "dd") else ""

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data

    def count(self, tag):
        return sum(name == tag for name, _ in self.tags)


def assert_self_contained(html):
    elements = Elements(html)
    assert elements.open == []
    assert elements.count("script") == elements.count("link") == elements.count("iframe") == 0
    ids = {attributes["id"] for _, attributes in elements.tags if "id" in attributes}
    for tag, attributes in elements.tags:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        assert tag != "img" or attributes["src"].startswith("data:image/png;base64,")
        assert "href" not in attributes or attributes["href"].removeprefix("#") in ids
    assert "url(" not in html
    assert "@import" not in html
    return elements


def section(html, name):
    """The text of one section of the page."""
    content = html.split(f'<h2 id="{name}">')[1].split("<h2 id=")[0].split("</body>")[0]
    return " ".join(Elements(f"<h2>{content}").text.split())
