"""The page cache: what of a file is in memory, and that it can be dropped."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import page_cache

PAGES = 64


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two files of many pages, just written and so in memory."""
    found = [tmp_path / "one", tmp_path / "two"]
    for file in found:
        file.write_bytes(b"x" * PAGES * 4096)
    return found


def test_reading_takes_every_byte_of_every_file(files: list[Path]) -> None:
    """The bytes are counted, so that a file that shrank is seen."""
    assert page_cache.read(files) == 2 * PAGES * 4096


def test_what_was_just_written_is_resident(files: list[Path]) -> None:
    """All pages of both files."""
    assert page_cache.resident_share(files) == 1.0


def test_what_is_dropped_is_no_longer_resident(files: list[Path], tmp_path: Path) -> None:
    """Reading brings it back. Some file systems (in memory) have nowhere to drop to."""
    page_cache.drop(files)
    share = page_cache.resident_share(files)
    if share == 1.0:
        pytest.skip(f"{tmp_path} stands on a file system that keeps its pages")
    assert share == 0.0
    page_cache.read(files)
    assert page_cache.resident_share(files) == 1.0


def test_of_no_file_and_an_empty_one_nothing_can_be_told(tmp_path: Path) -> None:
    """No pages have no share."""
    empty = tmp_path / "empty"
    empty.touch()
    assert page_cache.resident_share([]) is None
    assert page_cache.resident_share([empty]) is None
