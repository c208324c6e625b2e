"""Reads what a report is made of: the tags and the text of its page, the pixels of its figures."""

import base64
import hashlib
import io
import re
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
        if tag not in ("meta", "img", "br", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.text += " " if tag in ("td", "th", "dt", "dd") else ""

    def handle_data(self, data):
        if "style" not in self.open and "script" not in self.open:
            self.text += data

    def count(self, tag):
        return sum(name == tag for name, _ in self.tags)


def assert_self_contained(html):
    """One file: it asks for nothing, and no script runs but the one whose hash its policy names."""
    elements = Elements(html)
    assert elements.open == []
    assert elements.count("link") == elements.count("iframe") == 0
    assert [attributes for tag, attributes in elements.tags if tag == "script"] == [{}]
    (script,) = re.findall("(?s)<script>(.*?)</script>", html)
    (policy,) = [a["content"] for tag, a in elements.tags if a.get("http-equiv") == "Content-Security-Policy"]
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{allowed}'"
    named = [attributes["id"] for _, attributes in elements.tags if "id" in attributes]
    assert len(named) == len(set(named))
    for tag, attributes in elements.tags:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        assert tag != "img" or attributes.get("src", "data:image/webp;base64,").startswith("data:image/webp;base64,")
        link = attributes.get("href", "")
        assert link.removeprefix("#") in ["", *named] or (
            link.startswith("data:text/csv;") and "download" in attributes
        )
    assert "url(" not in html
    assert "@import" not in html
    return elements


def section(html, name):
    """The text of one section of the page, up to the next one of its kind."""
    (head,) = re.findall(rf'<(h[23]) id="{name}">', html)
    content = html.split(f'<{head} id="{name}">')[1]
    content = re.split(r'<h[23] id="|<nav|<dialog', content)[0]
    content = re.sub(r'(?s)<p class="csv">.*?</p>', "", content)
    return " ".join(Text(content).text.split())


class Text(Elements):
    """The text of a piece of a page, whose tags need not be closed in it."""

    def handle_endtag(self, tag):
        self.text += " " if tag in ("td", "th", "dt", "dd", "h2", "h3") else ""
        while tag in self.open and self.open.pop() != tag:
            pass
