"""Which weights may have learnt the images that a search decides by."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.learnt import doubt
from export.images import ImageFolder


@pytest.fixture
def data(tmp_path: Path) -> ImageFolder:
    """One image; nobody opens it."""
    (tmp_path / "leaves" / "cat").mkdir(parents=True)
    (tmp_path / "leaves" / "cat" / "1.png").write_bytes(b"")
    return ImageFolder.open(tmp_path / "leaves")


TRAIN = "bbce1aea1813" + 52 * "0"
OURS, OTHERS = "leaves bbce1aea1813", "leaves 0123456789ab"


def checkpoint(folder: Path, **metadata: str) -> str:
    """The header of one that says this."""
    header = json.dumps({"__metadata__": metadata}).encode()
    path = folder / "vgg19_mine.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    return str(path)


@pytest.mark.parametrize(
    "metadata",
    [
        {"data": OURS},
        {"data": "renamed bbce1aea1813"},
        {"data": OURS, "parent": "a.safetensors 12", "learnt_from": json.dumps([OURS, OURS])},
    ],
)
def test_our_own_training_has_not_seen_the_validation_part(
    metadata: dict[str, str], data: ImageFolder, tmp_path: Path
) -> None:
    """By the fingerprint of what it learnt from, whatever the data's name; parents as well."""
    assert doubt(checkpoint(tmp_path, **metadata), data, TRAIN) == ""


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ({}, "it does not say what it learnt from"),
        ({"data": " "}, "it does not say what it learnt from"),
        (
            {"data": OTHERS},
            f"it learnt from '{OTHERS}', and the train part of this data is '{OURS}'",
        ),
        ({"data": OURS, "parent": "a 12"}, "not say what its parent or its teacher learnt from"),
        ({"data": OURS, "trained": "40 epochs, taught by a.safetensors 12 at 4"}, "its teacher"),
        ({"data": OURS, "learnt_from": json.dumps(["", OURS])}, "what its parent or its teacher"),
        ({"data": OURS, "learnt_from": json.dumps([OTHERS, OURS])}, f"it learnt from '{OTHERS}'"),
        ({"data": OTHERS, "learnt_from": "["}, f"it learnt from '{OTHERS}'"),
    ],
)
def test_what_may_have_seen_it_is_told(
    metadata: dict[str, str], why: str, data: ImageFolder, tmp_path: Path
) -> None:
    """Another training, or one that nothing is known of, and so of every parent."""
    warning = doubt(checkpoint(tmp_path, **metadata), data, TRAIN)
    assert warning.startswith("vgg19_mine.safetensors may have learnt the validation images")
    assert why in warning


@pytest.mark.parametrize(
    "content", [b"", b"short", 8 * b"\xff", bytes(8), b"PK\3\4 a pickle of old"]
)
def test_a_file_without_a_header_says_nothing(
    content: bytes, data: ImageFolder, tmp_path: Path
) -> None:
    """A pickle, or a damaged file: a reason to doubt, not to end."""
    path = tmp_path / "vgg19.pt"
    path.write_bytes(content)
    assert "it does not say what it learnt from" in doubt(str(path), data, TRAIN)


def test_names_of_weights(data: ImageFolder) -> None:
    """Official weights are no training of ours; seeded ones have learnt nothing."""
    assert doubt("imagenet", data, TRAIN).startswith("imagenet may have learnt")
    assert doubt("seeded", data, TRAIN) == ""
