"""What a machine of a fleet does, tried on this one."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from bench import on_host, parcel
from bench.command_line import parse
from bench.on_host import Inputs, Sent
from bench.options import Options
from export.checkpoints import check_folder
from export.variants import Given, Variant


def sent(place: Path) -> Sent:
    """Files with their pieces."""
    contents = parcel.packed(place)
    pieces = [
        parcel.piece(place, part.name, *span) for part in contents.parts for span in part.pieces
    ]
    return Sent(str(place), contents, place.is_dir(), tuple(pieces))


def never(_: object) -> bytes:
    """Fetches nothing."""
    raise AssertionError("nothing has to be fetched")


def test_a_store_is_known_by_what_stands_in_it(tmp_path: Path) -> None:
    """The same for all that see it, whichever way; another for another folder."""
    (tmp_path / "one").mkdir()
    (tmp_path / "way").symlink_to(tmp_path / "one")
    own = on_host.store_id(tmp_path / "one")
    assert on_host.store_id(tmp_path / "way") == own
    assert on_host.store_id(tmp_path / "two") != own


def test_several_at_once_agree_on_a_store(tmp_path: Path) -> None:
    """Nodes of one machine, or of one shared folder, start together."""
    found: set[str] = set()
    threads = [
        threading.Thread(target=lambda: found.add(on_host.store_id(tmp_path / "s")))
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 1
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["fleet-id"]


def test_the_driver_s_store_is_used_where_it_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere the machine's own cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "shared").mkdir()
    assert on_host.store_here(str(tmp_path / "shared")) == tmp_path / "shared"
    assert on_host.store_here("") == tmp_path / "cache" / "deploybench"
    assert on_host.store_here("/nowhere/else") == tmp_path / "cache" / "deploybench"


def test_what_stands_here_already_is_not_fetched(tmp_path: Path) -> None:
    """A shared folder has the images under the same path."""
    file = tmp_path / "images.zip"
    file.write_bytes(b"pictures")
    assert on_host.arrived(sent(file), tmp_path / "store", never) == str(file)


def test_another_file_of_that_name_is_not_taken_for_it(tmp_path: Path) -> None:
    """What was sent is put into the store, by its contents."""
    file = tmp_path / "images.zip"
    file.write_bytes(b"pictures")
    parcel_of_it = sent(file)
    file.write_bytes(b"others!!")
    place = on_host.arrived(parcel_of_it, tmp_path / "store", lambda data: data)
    assert Path(place).read_bytes() == b"pictures"
    assert Path(place).name == "images.zip"
    assert on_host.arrived(parcel_of_it, tmp_path / "store", never) == place


def test_options_are_those_of_this_machine(tmp_path: Path) -> None:
    """Paths that travelled, and the store."""
    there = tmp_path / "there"
    there.mkdir()
    (there / "a.zip").write_bytes(b"a")
    (there / "ckpt").mkdir()
    (there / "ckpt" / "vgg19_x.safetensors").write_bytes(b"w")
    (there / "ckpt" / "xception_x.safetensors").write_bytes(b"w")
    options = replace(
        parse([]), data=str(there / "a.zip"), checkpoints=str(there / "ckpt"), threads=()
    )
    inputs = Inputs(data=sent(there / "a.zip"), checkpoints=sent(there / "ckpt"))
    (there / "a.zip").unlink()
    (there / "ckpt" / "xception_x.safetensors").unlink()
    here = on_host.options_here(options, inputs, tmp_path / "store", lambda data: data)
    assert Path(here.data).read_bytes() == b"a"
    assert sorted(path.name for path in Path(here.checkpoints).iterdir()) == [
        "vgg19_x.safetensors",
        "xception_x.safetensors",
    ]
    assert here.store == tmp_path / "store"


class Keeping:
    """A cluster of which nothing is asked but to keep pieces."""

    def keep(self, value: object) -> object:
        """As it is."""
        return value


def sent_of(options: Options, *variants: str) -> Inputs:
    """What a driver sends for these options."""
    pytest.importorskip("ray", reason="needs Ray: pip install 'deploybench[ray]'")
    from bench.fleet_build import inputs_of

    return inputs_of(options, variants, cast(Any, Keeping()))


def given_at(file: Path, *data_files: str) -> Variant:
    """A model of the user's, as far as sending it goes."""
    own = Given(str(file), "0", "in", "out", None, "{}", data_files=data_files)
    return Variant("mine", "own", "", (32, 32), 2, "", given=own)


@pytest.mark.parametrize("data_files", [(), ("a.data", "more/b.data")])
def test_a_given_model_arrives_whole(
    data_files: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By itself or with the files of its weights; what is there is not fetched again."""
    monkeypatch.setattr(on_host, "register", lambda rows: None)
    there = tmp_path / "there"
    (there / "more").mkdir(parents=True)
    for name in ("m.onnx", *data_files, "another.onnx"):
        (there / name).write_text(name)
    options = replace(parse([]), given=(given_at(there / "m.onnx", *data_files),))
    inputs = sent_of(options)
    shutil.rmtree(there)
    fetches: tuple[parcel.Fetch, ...] = (lambda data: data, never)
    for fetch in fetches:
        on_host._ARRIVED.clear()
        here = on_host.options_here(options, inputs, tmp_path / "store", fetch)
        (row,) = here.given
        assert row.given is not None
        file = Path(row.given.file)
        texts = [(file.parent / name).read_text() for name in ("m.onnx", *data_files)]
        assert texts == ["m.onnx", *data_files]
        assert not file.with_name("another.onnx").exists()


def test_a_given_model_is_used_where_it_stands_among_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a shared folder nothing else is read, which may be gigabytes."""
    monkeypatch.setattr(on_host, "register", lambda rows: None)
    file = tmp_path / "shared" / "m.onnx"
    file.parent.mkdir()
    file.write_text("graph")
    options = replace(parse([]), given=(given_at(file),))
    inputs = sent_of(options)
    (file.parent / "another.onnx").write_text("other")
    monkeypatch.setattr(parcel, "packed", never)
    here = on_host.options_here(options, inputs, tmp_path / "store", never)
    assert here.given == options.given


@pytest.mark.parametrize("count", [0, 1, 2])
def test_the_chosen_checkpoints_arrive(count: int, tmp_path: Path) -> None:
    """As a folder, if it is one or none too; others that the driver's path has here don't count."""
    chosen = [f"{name}_x.safetensors" for name in ("vgg19", "xception")[:count]]
    folder = tmp_path / "ckpt"
    folder.mkdir()
    for name in (*chosen, "vgg19-gap_x.safetensors"):
        (folder / name).write_text(name)
    options = replace(parse([]), checkpoints=str(folder))
    inputs = sent_of(options, "revisited-base", *("vgg19", "xception")[:count])
    here = on_host.options_here(options, inputs, tmp_path / "store", lambda data: data)
    check_folder(here.checkpoints, here.weights)
    found = Path(here.checkpoints).iterdir() if here.checkpoints else ()
    assert sorted(path.name for path in found) == chosen


def test_a_folder_of_one_file_arrives_as_a_folder(tmp_path: Path) -> None:
    """Whoever asks for a folder of checkpoints, say, would refuse the file."""
    (tmp_path / "ckpt").mkdir()
    (tmp_path / "ckpt" / "vgg19_x.safetensors").write_text("w")
    folder = sent(tmp_path / "ckpt")
    shutil.rmtree(tmp_path / "ckpt")
    place = Path(on_host.arrived(folder, tmp_path / "store", lambda data: data))
    assert [path.name for path in place.iterdir()] == ["vgg19_x.safetensors"]


def test_a_machine_says_what_counts(tmp_path: Path) -> None:
    """Python among the versions, cores, its code."""
    own = on_host.describe(str(tmp_path))
    assert own.versions["Python"].startswith("3.")
    assert own.versions["numpy"]
    assert own.cores >= 1
    assert own.store == str(tmp_path)
    assert len(own.machine) == 8


def test_what_builds_files_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of another version of these may be another file."""
    monkeypatch.setattr("bench.host.versions", lambda names: dict.fromkeys(names, "1.0"))
    named = on_host.versions().keys()
    assert {"onnx", "onnxslim", "onnx-ir", "safetensors", "scikit-learn", "Python"} <= named
