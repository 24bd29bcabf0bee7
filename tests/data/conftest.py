"""Tiny data sets in the official layouts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data import official_layouts


@pytest.fixture
def mupots_root(tmp_path: Path) -> Path:
    return official_layouts.write_mupots(tmp_path / "mupots")


@pytest.fixture
def threedpw_root(tmp_path: Path) -> Path:
    return official_layouts.write_threedpw(tmp_path / "3dpw")


@pytest.fixture
def coco_root(tmp_path: Path) -> Path:
    return official_layouts.write_coco(tmp_path / "coco")


@pytest.fixture
def images_root(tmp_path: Path) -> Path:
    return official_layouts.write_images(tmp_path / "images")
