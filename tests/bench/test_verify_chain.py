"""The files behind a model: which are what they were, which are not, and which can't be told."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench import given, verify_chain
from bench.bundle import Link
from bench.claims import Claim
from bench.verify_chain import Places, files_behind, models_in, own_files
from export.artifact import Store, folder_sha256
from export.given import GivenError


@pytest.fixture
def links(tmp_path: Path) -> list[Link]:
    """Two files of a store, with the hashes that they have."""
    found = []
    for key in ("net.to-onnx.1", "net.prepare.2"):
        folder = tmp_path / "store" / key
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_text(key)
        found.append(Link(key, sha256=folder_sha256(folder)))
    return found


def judged(tmp_path: Path, links: list[Link], *own: str, **places: tuple[Path, ...]) -> Claim:
    """What becomes of the claim."""
    return files_behind("x", links, own, Places(Store(tmp_path / "store"), **places))


def test_each_file_is_hashed_anew(tmp_path: Path, links: list[Link]) -> None:
    """As recorded; changed, the name of the file is told; gone, nothing is known of it."""
    assert judged(tmp_path, links) == Claim("x", "reproduced", "2 of 2 are as recorded")
    model = tmp_path / "store" / links[1].key / "model.onnx"
    model.write_text("other")
    found = judged(tmp_path, links)
    assert (found.outcome, links[1].key in found.why) == ("not reproduced", True)
    model.unlink()
    model.parent.rmdir()
    found = judged(tmp_path, links)
    assert found.outcome == "cannot tell"
    assert found.why.startswith(f"1 of 2 are as recorded; {links[1].key} is not in ")


def test_a_hash_that_nobody_knows_refutes_nothing(tmp_path: Path, links: list[Link]) -> None:
    """A bundle whose store had lost a file says its key alone."""
    found = judged(tmp_path, [links[0], replace(links[1], sha256="")])
    assert (found.outcome, "its hash is not known" in found.why) == ("cannot tell", True)


@pytest.mark.parametrize("key", ["", ".", "..", "../outside", "/etc"])
def test_a_key_leads_nowhere_else(tmp_path: Path, key: str, monkeypatch) -> None:
    """Nothing outside the store is read, whatever a bundle calls its files."""
    (tmp_path / "store").mkdir()
    (tmp_path / "outside").mkdir()
    monkeypatch.setattr(verify_chain, "folder_sha256", lambda folder: pytest.fail(str(folder)))
    assert judged(tmp_path, [Link(key, sha256="0")]).outcome == "cannot tell"


def digest(content: bytes) -> str:
    """Of a model that is one file with this content, as its copy's provenance has it."""
    return hashlib.sha256(hashlib.sha256(content).digest()).hexdigest()


def test_the_own_file_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is named it must be that file; where it was in the run's command it may be another,
    which tells nothing; what it consists of is asked only where one file is not all of it."""
    own, other = tmp_path / "own.onnx", tmp_path / "other.onnx"
    own.write_bytes(b"weights")
    other.write_bytes(b"others")
    wanted = digest(b"weights")
    asked: list[Path] = []

    def describe(path: Path) -> SimpleNamespace:
        asked.append(path)
        return SimpleNamespace(sha256="f00d")

    monkeypatch.setattr(given, "describe", describe)
    assert judged(tmp_path, [], wanted, named=(own,)).outcome == "reproduced"
    assert judged(tmp_path, [], wanted, recorded=(other, own)).outcome == "reproduced"
    assert asked == [other]
    assert judged(tmp_path, [], wanted, named=(other,)).outcome == "not reproduced"
    found = judged(tmp_path, [], wanted, recorded=(other,))
    assert found.outcome == "cannot tell" and "other.onnx is not the file" in found.why
    found = judged(tmp_path, [], wanted, recorded=(tmp_path / "gone.onnx",))
    assert found.outcome == "cannot tell" and "--model says where" in found.why
    assert judged(tmp_path, [], "f00d", named=(other,)).outcome == "reproduced"  # with data files


def test_an_own_file_that_cant_be_read_tells_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the library that reads it is not installed."""
    (tmp_path / "own.onnx").write_bytes(b"weights")

    def describe(path: Path) -> None:
        raise GivenError(f"{path} can't be read without onnx")

    monkeypatch.setattr(given, "describe", describe)
    found = judged(tmp_path, [], "f00d", named=(tmp_path / "own.onnx",))
    assert (found.outcome, "without onnx" in found.why) == ("cannot tell", True)


def test_own_files_are_those_that_a_chain_begins_with() -> None:
    """Each once; what stands there and is no hash is none."""
    first = Link("a", provenance={"file": "f00d"})
    assert own_files([first, Link("b"), first, Link("c", provenance={"file": 1})]) == ("f00d",)


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("python -m bench.run --model a.onnx,b.onnx --quick", ["a.onnx", "b.onnx"]),
        ("python -m bench.run --model='my net.onnx'", ["my net.onnx"]),
        ("python -m bench.run -m vgg19", []),
        ("python -m bench.run --model 'unended", []),
    ],
)
def test_the_command_says_what_they_were_called(command: str, names: list[str]) -> None:
    """In either form; a command that is none names nothing."""
    assert models_in(command) == tuple(map(Path, names))
