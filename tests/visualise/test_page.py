from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from mpose3d.skeleton import SKELETON
from mpose3d.visualise.page import write_page


class Page(HTMLParser):
    """Scripts by id (None: the program), and every address that the page names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: dict[str | None, str] = {}
        self.addresses: list[str] = []
        self.title = ""
        self._open: tuple[str, str | None] | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self._open = (tag, attributes.get("id"))
        self.addresses += [attributes[name] for name in ("src", "href") if name in attributes]

    def handle_endtag(self, tag):
        self._open = None

    def handle_data(self, data):
        if self._open and self._open[0] == "script":
            self.scripts[self._open[1]] = self.scripts.get(self._open[1], "") + data
        if self._open and self._open[0] == "title":
            self.title += data

    @property
    def data(self) -> dict:
        return json.loads(self.scripts["data"])


@pytest.fixture
def joints_mm():
    return np.random.default_rng(0).normal(size=(3, 15, 3)) * 500 + [0, 0, 4000]


def written(tmp_path, *args, **kwargs) -> Page:
    path = tmp_path / "out" / "page.html"
    write_page(path, *args, **kwargs)
    return Page(path.read_text(encoding="utf-8"))


def embedded(page: Page) -> np.ndarray:
    kind, data = page.data["photograph"].split(",")
    assert kind == "data:image/jpeg;base64"
    return cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)


def test_holds_the_people_and_nothing_foreign(tmp_path, joints_mm):
    page = written(tmp_path, joints_mm, title="three")
    people = page.data["people"]
    np.testing.assert_allclose([person["joints"] for person in people], joints_mm, atol=0.051)
    assert page.data["limbs"] == [list(limb) for limb in SKELETON.limbs]
    assert len({person["colour"] for person in people}) == 3
    assert all(len(person["colours"]) == len(SKELETON.limbs) for person in people)
    assert page.addresses == [] and "http" not in page.scripts[None]


def test_title_and_data_cannot_break_out(tmp_path, joints_mm):
    title = 'a</script><script>alert(1)</script> & "b" __DATA__'
    page = written(tmp_path, joints_mm, title=title)
    assert page.title == title
    assert len(page.data["people"]) == 3
    assert list(page.scripts) == ["data", None]


def test_a_title_of_bytes_that_are_no_text(tmp_path, joints_mm):
    page = written(tmp_path, joints_mm, title=os.fsdecode(b"caf\xe9.jpg"))
    assert page.title == "caf?.jpg" and len(page.data["people"]) == 3


def test_photograph_is_embedded_with_its_skeletons(tmp_path, joints_mm):
    image = np.full((1000, 2000, 3), 40, dtype=np.uint8)
    joints_px = np.random.default_rng(1).uniform(100, 900, size=(3, 15, 2))
    page = written(tmp_path, joints_mm, title="photograph", image=image, joints_px=joints_px)
    shown = embedded(page)
    assert shown.shape == (640, 1280, 3)
    assert shown.max() > 200 and (image == 40).all()


def test_a_photograph_of_one_row(tmp_path, joints_mm):
    page = written(tmp_path, joints_mm, title="strip", image=np.zeros((1, 5000, 3), np.uint8))
    assert embedded(page).shape == (1, 1280, 3)


def test_nobody_and_a_broken_person(tmp_path, joints_mm):
    assert written(tmp_path, np.zeros((0, 15, 3)), title="nobody").data["people"] == []
    joints_mm[1, 4] = np.nan
    assert len(written(tmp_path, joints_mm, title="two").data["people"]) == 2


def test_two_writes_are_equal(tmp_path, joints_mm):
    for name in ("a.html", "b.html"):
        write_page(tmp_path / name, joints_mm, title="same")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_no_placeholder_is_left(tmp_path, joints_mm):
    write_page(tmp_path / "page.html", joints_mm, title="plain")
    assert not re.search(r"__[A-Z]+__", (tmp_path / "page.html").read_text(encoding="utf-8"))


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_script_is_valid(tmp_path, joints_mm):
    script = tmp_path / "page.js"
    script.write_text(written(tmp_path, joints_mm, title="script").scripts[None], encoding="utf-8")
    subprocess.run(["node", "--check", str(script)], check=True, capture_output=True)
