"""The store: whole artifacts or none, whoever else is writing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from export.artifact import RECORD, Artifact, Store, folder_sha256, key_of, write_record


def put(store: Store, key: str, content: bytes) -> Artifact:
    """Settle a made-up artifact of one file."""
    with store.writing(key) as folder:
        (folder / "model.onnx").write_bytes(content)
        write_record(folder, record(key, len(content)))
    found = store.find(key)
    assert found is not None
    return found


def record(key: str, size: int) -> Artifact:
    """What is known of a made-up artifact."""
    return Artifact(
        key=key,
        variant="vgg19",
        weights="seeded",
        recipe="fp32",
        format="onnx",
        folder="",
        file="model.onnx",
        size_bytes=size,
        sha256="",
        parameters=0,
        nonzero_parameters=0,
        rounded_to_zero=0,
        macs=0,
        input_size=(224, 224),
        class_names=("a",),
        placeholder_names=True,
        reference="r",
    )


def test_what_was_settled_is_found_with_its_place(tmp_path: Path) -> None:
    """A found artifact names its folder and its reference in this store."""
    store = Store(tmp_path)
    found = put(store, "k", b"model")
    assert found.path.read_bytes() == b"model"
    assert found.reference == str(tmp_path / "r")


def test_a_store_can_be_moved(tmp_path: Path) -> None:
    """No path is stored: artifacts are found wherever the store stands."""
    put(Store(tmp_path / "a"), "k", b"model")
    (tmp_path / "a").rename(tmp_path / "b")
    found = Store(tmp_path / "b").find("k")
    assert found is not None and found.folder == str(tmp_path / "b" / "k")
    assert str(tmp_path) not in (tmp_path / "b" / "k" / RECORD).read_text()


def test_a_step_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """A half-written folder is never taken for a whole one, and is cleaned away."""
    store = Store(tmp_path)

    def fail() -> None:
        with store.writing("k") as folder:
            (folder / "model.onnx").write_bytes(b"half")
            raise RuntimeError("the converter died")

    with pytest.raises(RuntimeError, match="the converter died"):
        fail()
    assert store.find("k") is None
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("damage", ["record", "model", "size"])
def test_a_damaged_artifact_is_not_found(tmp_path: Path, damage: str) -> None:
    """A missing record, a missing file or another size: build again."""
    store = Store(tmp_path)
    folder = Path(put(store, "k", b"model").folder)
    if damage == "record":
        (folder / RECORD).write_text('{"key": "k"}')
    elif damage == "model":
        (folder / "model.onnx").unlink()
    else:
        (folder / "model.onnx").write_bytes(b"mode")
    assert store.find("k") is None
    assert put(store, "k", b"again").path.read_bytes() == b"again"


def test_two_writers_of_one_key_leave_one_whole_artifact(tmp_path: Path) -> None:
    """Whoever comes second takes what the first one settled."""
    store = Store(tmp_path)
    with store.writing("k") as ours:
        (ours / "model.onnx").write_bytes(b"model")
        write_record(ours, record("k", 5))
        put(store, "k", b"first")
    found = store.find("k")
    assert found is not None and found.path.read_bytes() == b"first"


def test_a_lock_keeps_a_second_process_out(tmp_path: Path) -> None:
    """While one process builds a key, another one has to wait for it."""
    store = Store(tmp_path)
    code = (
        "import fcntl, sys; f = open(sys.argv[1], 'w')\n"
        "try: fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB); print('free')\n"
        "except BlockingIOError: print('held')"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "locks" / "k")]
    with store.locked("k"):
        held = subprocess.run(command, capture_output=True, text=True, check=True)
    free = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (held.stdout.strip(), free.stdout.strip()) == ("held", "free")


def test_the_hash_covers_names_and_contents(tmp_path: Path) -> None:
    """Moving a byte from one file to another changes the hash."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "x").write_bytes(b"12")
    (tmp_path / "a" / "y").write_bytes(b"3")
    (tmp_path / "b" / "x").write_bytes(b"1")
    (tmp_path / "b" / "y").write_bytes(b"23")
    assert folder_sha256(tmp_path / "a") != folder_sha256(tmp_path / "b")


def test_keys_do_not_depend_on_the_order_of_facts() -> None:
    """A key is the hash of facts, not of how they were written down."""
    assert key_of({"a": 1, "b": [2]}) == key_of({"b": [2], "a": 1})
    assert key_of({"a": 1}) != key_of({"a": 2})
