"""One command on a machine of a cluster, tried on this one."""

from __future__ import annotations

import fcntl
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bench import errand, on_host, parcel
from bench.errand import Done, Errand
from bench.on_host import Sent
from tests.bench.dying import child_of_the_killed, gone

MODULE = "tests.bench.small_errand"
TIED = pytest.mark.skipif(
    shutil.which("setpriv") is None, reason="tying children needs setpriv (util-linux)"
)


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this machine keeps files."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "deploybench"


def done(*words: str, known: Sent | None = None, **sent: Sent | str) -> Done:
    """What comes of the small command, for a driver that is the same as this machine."""
    flags = {f"--{name}": one for name, one in sent.items()}
    asked = Errand(MODULE, ("--variants", "vgg19", *words), flags, known)
    return errand.run(asked, on_host.describe(""), lambda data: data)


def sent(place: Path) -> Sent:
    """Files with their pieces."""
    contents = parcel.packed(place)
    pieces = [
        parcel.piece(place, part.name, *span) for part in contents.parts for span in part.pieces
    ]
    return Sent(str(place), contents, place.is_dir(), tuple(pieces))


def test_what_a_command_wrote_comes_back_and_stays_nowhere(store: Path) -> None:
    """With what it said; it needs no folder of this machine any more."""
    found = done()
    assert (found.code, found.said) == (0, "wrote vgg19_tiny.txt\n")
    assert [part.name for part in found.written.parts] == ["vgg19_tiny.txt"]
    assert found.data[0].tobytes() == b"vgg19;"
    parcel.check(found.written.parts[0], found.data[0].tobytes())
    assert not list(store.glob("*spread-*"))


def test_it_finds_what_flags_name_and_what_an_earlier_start_wrote(tmp_path: Path) -> None:
    """Whether that stands on this machine or was sent."""
    (tmp_path / "data.txt").write_text("data,")
    data = sent(tmp_path / "data.txt")
    (tmp_path / "data.txt").unlink()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "vgg19_tiny.txt").write_text("earlier,")
    found = done(known=sent(tmp_path / "out"), data=data)
    assert found.data[0].tobytes() == b"earlier,data,vgg19;"


@pytest.mark.parametrize(("asked", "code"), [(3, 3), (-9, 137)])
def test_how_it_ended_is_never_taken_for_success(asked: int, code: int, store: Path) -> None:
    """Killed, the exit code is what a shell would say; its folder is gone then, too."""
    assert done("--code", str(asked)).code == code
    assert not list(store.glob("*spread-*"))


def test_a_machine_with_other_versions_does_not_begin(tmp_path: Path) -> None:
    """It may have joined after the others were looked at."""
    own = on_host.describe("")
    driver = replace(own, versions={**own.versions, "numpy": "1.0"})
    asked = Errand(MODULE, ("--linger", str(tmp_path / "begun")), {})
    found = errand.run(asked, driver, lambda data: data)
    assert found.code == 2
    assert "have other versions (numpy 1.0 and" in found.said
    assert not (tmp_path / "begun").exists()


@TIED
def test_a_command_dies_with_its_worker_and_the_next_one_clears_up(
    store: Path, tmp_path: Path
) -> None:
    """Killed, a worker can do neither; what is in use stays."""
    code = (
        "from bench import errand, on_host\n"
        "from bench.errand import Errand\n"
        f"asked = Errand({MODULE!r}, ('--linger', {str(tmp_path / 'pid')!r}), {{}})\n"
        "errand.run(asked, on_host.describe(''), lambda data: data)\n"
    )
    assert gone(child_of_the_killed(code, tmp_path / "pid"))
    (left,) = store.glob("spread-*")
    used = store / "spread-used"
    used.mkdir()
    with (used / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done()
        assert not left.exists()
        assert used.exists()
    done()
    assert not used.exists()
