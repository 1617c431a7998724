"""Files that travel by their contents."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import parcel
from bench.parcel import Parcel, ParcelError, Part


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file below another folder, a large one and an empty one."""
    place = tmp_path / "here"
    (place / "below").mkdir(parents=True)
    (place / "below" / "weights.bin").write_bytes(b"abc" * 1000)
    (place / "empty").write_bytes(b"")
    (place / "model.onnx").write_bytes(b"graph")
    return place


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a small file has several."""
    monkeypatch.setattr(parcel, "PIECE_BYTES", 700)


def pieces(place: Path, contents: Parcel) -> list[bytes]:
    """All pieces of a parcel, in order."""
    return [
        parcel.piece(place, part.name, *span) for part in contents.parts for span in part.pieces
    ]


def test_what_is_packed_can_be_unpacked_elsewhere(folder: Path, tmp_path: Path) -> None:
    """Names below folders and empty files included; several pieces make one file."""
    contents = parcel.packed(folder)
    sent = pieces(folder, contents)
    assert len(sent) == 5 + 1
    parcel.unpack(contents, sent, lambda data: data, tmp_path / "there")
    assert parcel.packed(tmp_path / "there") == contents
    assert contents.size_bytes == 3005


def test_a_single_file_is_a_parcel_too(folder: Path, tmp_path: Path) -> None:
    """Under its own name."""
    file = folder / "model.onnx"
    contents = parcel.packed(file)
    parcel.unpack(contents, pieces(file, contents), lambda data: data, tmp_path / "there")
    assert (tmp_path / "there" / "model.onnx").read_bytes() == b"graph"


def test_what_was_changed_on_the_way_is_refused(folder: Path, tmp_path: Path) -> None:
    """Nothing is left of it."""
    contents = parcel.packed(folder)
    sent = pieces(folder, contents)
    sent[2] = sent[2][:-1] + b"!"
    with pytest.raises(ParcelError, match=r"below/weights\.bin arrived with sha256"):
        parcel.unpack(contents, sent, lambda data: data, tmp_path / "there")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here"]


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../b"])
def test_a_name_that_leads_out_is_refused(name: str, tmp_path: Path) -> None:
    """Whoever sends it."""
    sent = Parcel((Part(name, 1, "0" * 64),))
    with pytest.raises(ParcelError, match="outside of its folder"):
        parcel.unpack(sent, [b"x"], lambda data: data, tmp_path / "there")
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_not_fetched_again(folder: Path, tmp_path: Path) -> None:
    """A second task finds what the first one has put there."""
    contents = parcel.packed(folder)
    parcel.unpack(contents, pieces(folder, contents), lambda data: data, tmp_path / "there")

    def fetch(_: object) -> bytes:
        raise AssertionError("nothing is missing")

    parcel.unpack(contents, [], fetch, tmp_path / "there")


def test_another_file_of_the_same_size_is_not_taken_for_it(folder: Path, tmp_path: Path) -> None:
    """What is measured is what was sent, byte for byte."""
    contents = parcel.packed(folder)
    target = tmp_path / "there"
    parcel.unpack(contents, pieces(folder, contents), lambda data: data, target)
    (target / "model.onnx").write_bytes(b"GRAPH")
    parcel.unpack(contents, pieces(folder, contents), lambda data: data, target)
    assert (target / "model.onnx").read_bytes() == b"graph"


def test_what_is_not_whole_gives_way(folder: Path, tmp_path: Path) -> None:
    """A folder that somebody has emptied is filled again."""
    contents = parcel.packed(folder)
    target = tmp_path / "there"
    target.mkdir()
    (target / "model.onnx").write_bytes(b"half")
    parcel.unpack(contents, pieces(folder, contents), lambda data: data, target)
    assert parcel.packed(target) == contents


def test_files_of_a_folder_are_found_among_others(folder: Path) -> None:
    """Only if all of them are there, byte for byte."""
    some = parcel.chosen(folder, ("model.onnx", "below/weights.bin"))
    assert [part.name for part in some.parts] == ["below/weights.bin", "model.onnx"]
    assert parcel.stands_in(some, folder)
    (folder / "empty").unlink()
    assert parcel.stands_in(some, folder)
    (folder / "model.onnx").write_bytes(b"GRAPH")
    assert not parcel.stands_in(some, folder)
    (folder / "model.onnx").unlink()
    assert not parcel.stands_in(some, folder)


def test_names_are_by_contents(folder: Path) -> None:
    """Another byte is another parcel."""
    before = parcel.packed(folder).digest
    (folder / "model.onnx").write_bytes(b"graph!")
    assert parcel.packed(folder).digest != before
