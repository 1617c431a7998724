"""``python -m bench.ship``: what is refused, what is written, and that it runs without us."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import venv
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench import bundle, given, launch, selftest, ship, verify
from bench.case import Case
from bench.host import versions
from bench.launch import ChildDied
from bench.options import Options, UsageError
from bench.record import Parity, Run, write_run
from bench.verify_chain import Places
from bench.verify_files import of_bundle
from export.artifact import Artifact, Store
from export.images import Preprocess
from tests.bench.packed import RIGHT, WRONG, measured
from tests.conftest import Built

CASE = Case("revisited-v6", "int8-static", "ort", 1, weights="cifar10")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def model(built: Built) -> Artifact:
    """The file that is shipped."""
    return built("revisited-v6", "int8-static", "onnx")


def measured_here(artifact: Artifact, parity: Parity | None = RIGHT, **changes: object) -> Run:
    """A run with the versions that are installed."""
    run = measured(CASE, artifact, parity)
    here = {"versions": versions(["onnxruntime", "numpy"]), **changes}
    return replace(run, header=replace(run.header, **here))  # type: ignore[arg-type]


def results(
    tmp_path: Path, artifact: Artifact, parity: Parity | None = RIGHT, **changes: object
) -> Path:
    """A results folder in which it was measured."""
    out = tmp_path / "results"
    (out / "records").mkdir(parents=True)
    write_run(out / "records" / "default-1.jsonl", measured_here(artifact, parity, **changes))
    return out


def words(tmp_path: Path, store: Path, *more: str) -> list[str]:
    """A command line."""
    places = ["--records", str(tmp_path / "results"), "--store", str(store)]
    return [str(CASE), str(tmp_path / "bundle"), *places, *more]


def test_a_bundle_is_whole_and_proves_itself(
    tmp_path: Path, store_folder: Path, model: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every promised file is there, ``sha256sum -c`` agrees, and every hash of the chain does."""
    results(tmp_path, model)
    assert ship.main(words(tmp_path, store_folder)) == 0
    folder = tmp_path / "bundle"
    promised = "README.md predict.py selftest.py requirements.txt classes.txt model.json"
    promised += " provenance.json measured.jsonl selftest/answers.npy model/model.onnx"
    assert set(promised.split()) <= set(bundle.names(folder))
    said = capsys.readouterr().out
    assert "self-test: ok: 4 images" in said
    assert "(allowed where it was packed: error 0.001 at most)" in said
    sums = ["sha256sum", "-c", "--quiet", bundle.SUMS]
    assert subprocess.run(sums, cwd=folder, check=False).returncode == 0
    claims = list(of_bundle(bundle.read(folder), Places(Store(store_folder))))
    assert [claim.outcome for claim in claims] == ["reproduced"] * 6, claims
    assert [link.key for link in bundle.read(folder).provenance.chain][-1] == model.key
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "results"]
    for path in folder.rglob("*"):
        assert not path.is_file() or str(store_folder).encode() not in path.read_bytes()


def test_the_readme_has_the_numbers_and_where_they_are_from(
    tmp_path: Path, store_folder: Path, model: Artifact
) -> None:
    """Latency, size, parity, host, commit, versions, and every key of the chain."""
    results(tmp_path, model)
    assert ship.main(words(tmp_path, store_folder)) == 0
    text = (tmp_path / "bundle" / "README.md").read_text()
    assert "| latency, p50, ms | 10.00 (" in text
    assert "latency, p99" not in text  # 36 samples do not support it
    assert "CPU one" in text and "commit abc1234" in text
    assert f"onnxruntime {versions(['onnxruntime'])['onnxruntime']}" in text
    provenance = bundle.read(tmp_path / "bundle").provenance
    assert all(link.key in text for link in (*provenance.chain, provenance.reference))


@pytest.mark.parametrize("parity", [WRONG, None], ids=["wrong", "unknown"])
def test_a_wrong_row_is_refused_unless_forced(
    tmp_path: Path,
    store_folder: Path,
    model: Artifact,
    parity: Parity | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And its README then begins with the doubt."""
    results(tmp_path, model, parity)
    assert ship.main(words(tmp_path, store_folder)) == 2
    assert "--force ships it all the same" in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()
    assert ship.main(words(tmp_path, store_folder, "--force")) == 0
    head = (tmp_path / "bundle" / "README.md").read_text().partition("## Use")[0]
    assert "Do not trust this blindly" in head and "`--force`" in head


def test_what_exists_is_kept(tmp_path: Path, store_folder: Path, model: Artifact) -> None:
    """A bundle is replaced with --force only, and anything else never."""
    results(tmp_path, model)
    assert ship.main(words(tmp_path, store_folder)) == 0
    assert ship.main(words(tmp_path, store_folder)) == 2
    (tmp_path / "bundle" / "classes.txt").write_text("mine")
    assert ship.main(words(tmp_path, store_folder, "--force")) == 0
    assert (tmp_path / "bundle" / "classes.txt").read_text() != "mine"
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    line = words(tmp_path, store_folder, "--force")
    line[1] = str(foreign)
    assert ship.main(line) == 2
    assert foreign.is_dir() and not any(foreign.iterdir())


def test_what_was_added_to_a_bundle_is_never_removed(
    tmp_path: Path, store_folder: Path, model: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not with --force either: notes and links are named; what Python cached is no reason."""
    results(tmp_path, model)
    assert ship.main(words(tmp_path, store_folder)) == 0
    added = tmp_path / "bundle" / "model" / "notes.txt"
    added.write_text("mine")
    (tmp_path / "bundle" / "link").symlink_to(tmp_path)
    assert ship.main(words(tmp_path, store_folder, "--force")) == 2
    assert "no line of SHA256SUMS has: link, model/notes.txt; --force" in capsys.readouterr().err
    assert added.read_text() == "mine"
    added.unlink()
    (tmp_path / "bundle" / "link").unlink()
    (tmp_path / "bundle" / "__pycache__").mkdir()
    (tmp_path / "bundle" / "__pycache__" / "predict.cpython-311.pyc").write_bytes(b"x")
    ship._check_out(tmp_path / "bundle", force=True)


def test_a_rename_that_fails_brings_the_old_bundle_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the disk is full between the two."""
    out = tmp_path / "bundle"
    out.mkdir()
    (out / bundle.PROVENANCE).write_text("old")
    bundle.write_sums(out)
    rename = Path.rename

    def fails(path: Path, target: Path) -> Path:
        if path.name == "new":
            raise OSError("no space left")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="no space left"), ship._placed(out, force=True):
        pass
    assert (out / bundle.PROVENANCE).read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_nothing_is_left_of_a_bundle_that_failed(
    tmp_path: Path, store_folder: Path, model: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither where the runtime dies nor where the self-test says no; the old bundle stays."""
    results(tmp_path, model)

    def dies(*arguments: object) -> None:
        raise ChildDied("killed by SIGKILL")

    with monkeypatch.context() as patch:
        patch.setattr(selftest, "answers", dies)
        assert ship.main(words(tmp_path, store_folder)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["results"]

    answers = selftest.answers
    with monkeypatch.context() as patch:
        patch.setattr(selftest, "answers", lambda *given: -answers(*given))
        assert ship.main(words(tmp_path, store_folder)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


@pytest.fixture
def _own_signals() -> Iterator[None]:
    """A kill is heeded by the command alone: neither by what runs the tests nor after them."""
    before = signal.signal(signal.SIGTERM, lambda *given: None)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("_own_signals")
def test_nothing_is_left_of_a_bundle_that_was_interrupted(
    tmp_path: Path,
    store_folder: Path,
    model: Artifact,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A polite kill, which is heeded as Ctrl-C is: 130, and no half of it beside OUT."""
    results(tmp_path, model)

    def interrupted(folder: Path) -> str:
        assert bundle.is_bundle(folder)
        signal.raise_signal(signal.SIGTERM)
        return "ok"

    monkeypatch.setattr(ship, "_selftest", interrupted)
    assert ship.main(words(tmp_path, store_folder)) == 130
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


@pytest.mark.usefixtures("_own_signals")
def test_verify_ends_when_it_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 130, as the others do."""

    def interrupted(options: object) -> Iterator[object]:
        signal.raise_signal(signal.SIGTERM)
        yield None

    monkeypatch.setattr(verify, "_claims", interrupted)
    assert verify.main([str(tmp_path)]) == 130


def test_int8_has_to_answer_alike_where_it_is_packed(
    tmp_path: Path,
    store_folder: Path,
    model: Artifact,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What would pass elsewhere by the cosine alone is no bundle: predict.py does otherwise."""
    results(tmp_path, model)
    assert ship.main(words(tmp_path, store_folder)) == 0
    answers = selftest.answers
    monkeypatch.setattr(selftest, "answers", lambda *given: 0.99 * answers(*given))
    capsys.readouterr()
    line = words(tmp_path, store_folder)
    assert ship.main([line[0], str(tmp_path / "other"), *line[2:]]) == 1
    assert "(allowed where it was packed: error 0.001 at most)" in capsys.readouterr().err
    stored = tmp_path / "bundle" / bundle.ANSWERS
    np.save(stored, 0.99 * np.load(stored))
    for more, code, said in (
        ((), 0, "(allowed elsewhere: cosine 0.9 at least)"),
        (("--when-packed",), 1, "(allowed where it was packed: error 0.001 at most)"),
    ):
        test = [sys.executable, "-I", str(tmp_path / "bundle" / "selftest.py"), *more]
        done = subprocess.run(test, capture_output=True, text=True, check=False)
        assert (done.returncode, said in done.stdout) == (code, True), done.stdout
    text = (tmp_path / "bundle" / "README.md").read_text()
    assert "a cosine of 0.9 at least.\nWhere it was packed it had to keep an error of 0.001" in text


def test_another_version_of_the_runtime_is_an_objection(
    tmp_path: Path, store_folder: Path, model: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    """The stored answers would be of a version that requirements.txt does not name."""
    results(tmp_path, model, versions={"onnxruntime": "0.1"})
    assert ship.main(words(tmp_path, store_folder)) == 2
    assert "it was measured with onnxruntime 0.1, and " in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()
    assert ship.main(words(tmp_path, store_folder, "--force")) == 0
    assert "measured with onnxruntime 0.1" in (tmp_path / "bundle" / "README.md").read_text()


def test_a_runtime_that_is_not_installed_is_a_sentence(
    tmp_path: Path,
    store_folder: Path,
    model: Artifact,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With what to install."""
    results(tmp_path, model)

    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", missing)
    assert ship.main(words(tmp_path, store_folder)) == 2
    assert "onnxruntime is not installed" in capsys.readouterr().err


def test_a_file_that_was_changed_since_is_refused(
    tmp_path: Path, store_folder: Path, model: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    """The store's file must have the hash that was recorded when it was measured."""
    results(tmp_path, replace(model, sha256="0" * 64))
    assert ship.main(words(tmp_path, store_folder)) == 2
    assert "000000000000 was measured" in capsys.readouterr().err


def test_a_file_that_is_gone_names_the_command_that_builds_it(
    tmp_path: Path, store_folder: Path, model: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where it can't be built again from the run's own command."""
    gone = replace(model, key="revisited-v6.quantize-static.gone")
    command = "python -m bench.run --checkpoints nowhere --store STORE"
    results(tmp_path, gone, command=command)
    assert ship.main(words(tmp_path, store_folder)) == 2
    said = capsys.readouterr().err
    assert "gone is not in" in said and "can't be built here" in said and command in said


@pytest.mark.slow
def test_a_file_that_is_gone_is_built_again(
    tmp_path: Path, model: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the run's own command where its inputs are there, and under the same key."""
    results(tmp_path, model)
    assert ship.main(words(tmp_path, tmp_path / "store")) == 0, capsys.readouterr().err
    provenance = bundle.read(tmp_path / "bundle").provenance
    assert provenance.artifact.key == model.key
    assert all(link.provenance for link in provenance.chain)


def test_a_file_of_a_given_model_that_is_gone_asks_for_the_model(
    tmp_path: Path, store_folder: Path, model: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    """The record has its name alone: where it stands here, --model says."""
    gone = replace(model, key="leaf.onnx.quantize-static.gone")
    case = Case("leaf.onnx", "int8-static", "ort", 1, weights="own")
    run = measured(case, gone)
    out = results(tmp_path, gone)
    line = [str(case), *words(tmp_path, store_folder)[1:]]
    for command, reason in (
        ("python -m bench.run --model leaf.onnx --store STORE", "leaf.onnx is no file"),
        ("python -m bench.run --store STORE", "name the model that it is from with --model FILE"),
    ):
        changed = replace(run.header, command=command, versions={})
        write_run(out / "records" / "default-1.jsonl", replace(run, header=changed))
        assert ship.main(line) == 2
        said = capsys.readouterr().err
        assert "gone is not in" in said and reason in said, said


def test_a_given_model_is_opened_where_it_stands_here(
    tmp_path: Path,
    store_folder: Path,
    model: Artifact,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """--model takes the place of the name that the record has, its other flags stay."""
    gone = replace(model, key="leaf.onnx.quantize-static.gone")
    case = Case("leaf.onnx", "int8-static", "ort", 1, weights="own")
    run = measured(case, gone)
    out = results(tmp_path, gone)
    command = "python -m bench.run --model leaf.onnx --preset tf --store STORE"
    changed = replace(run.header, command=command, versions={})
    write_run(out / "records" / "default-1.jsonl", replace(run, header=changed))
    asked: list[Options] = []

    def opened(options: Options) -> Options:
        asked.append(options)
        raise UsageError("enough")

    monkeypatch.setattr(given, "opened", opened)
    line = [str(case), *words(tmp_path, store_folder, "--model", "here/leaf.onnx")[1:]]
    assert ship.main(line) == 2
    assert "enough" in capsys.readouterr().err
    assert [(one.model, one.preset) for one in asked] == [(("here/leaf.onnx",), "tf")]


def test_the_file_for_mobile_builds_answers_alike(
    tmp_path: Path, store_folder: Path, model: Artifact
) -> None:
    """In ORT format, with the operators that a minimal build needs beside it."""
    onnxruntime = pytest.importorskip("onnxruntime")
    results(tmp_path, model)
    assert ship.main(words(tmp_path, store_folder)) == 0
    folder = tmp_path / "bundle"
    (file,) = (folder / bundle.MOBILE).glob("*.ort")
    (needs,) = (folder / bundle.MOBILE).glob("*.config")
    assert "ai.onnx;" in needs.read_text() and str(tmp_path) not in needs.read_text()
    session = onnxruntime.InferenceSession(str(file))
    images = selftest.inputs(folder / bundle.SELFTEST, Preprocess.from_json(model.preprocess))
    source = session.get_inputs()[0].name
    found = np.concatenate([session.run(None, {source: one[None]})[0] for one in images])
    stored = bundle.read_answers(folder)
    np.testing.assert_allclose(found, stored, rtol=0, atol=1e-3 * np.abs(stored).max())


def test_images_of_the_users_own_only_where_asked(
    tmp_path: Path, store_folder: Path, model: Artifact
) -> None:
    """``--with-images`` takes them from the test part of that folder; the README says so."""
    results(tmp_path, model)
    chance = np.random.default_rng(1)
    for split in ("train", "val", "test"):
        for name in ("cat", "dog"):
            folder = tmp_path / "own" / split / name
            folder.mkdir(parents=True)
            for i in range(2):
                pixels = chance.integers(0, 256, (24, 24, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    line = words(tmp_path, store_folder, "--with-images", str(tmp_path / "own"))
    assert ship.main(line) == 0
    stored = sorted((tmp_path / "bundle" / "selftest").glob("*.png"))
    theirs = {
        np.asarray(Image.open(p)).tobytes() for p in (tmp_path / "own" / "test").rglob("*.png")
    }
    assert stored and all(np.asarray(Image.open(path)).tobytes() in theirs for path in stored)
    assert "named with `--with-images`" in (tmp_path / "bundle" / "README.md").read_text()


def test_verify_finds_what_was_changed(tmp_path: Path, store_folder: Path, model: Artifact) -> None:
    """A byte of the model, a number in the README, a file more: each is told, with exit code 1."""
    results(tmp_path, model)
    assert ship.main(words(tmp_path, store_folder)) == 0
    folder = tmp_path / "bundle"
    only_hashes = [str(folder), "--no-measure", "--store", str(store_folder)]
    assert verify.main(only_hashes) == 0
    before = (folder / "README.md").read_text()
    (folder / "README.md").write_text(before.replace("10.00", "1.00"))
    bundle.write_sums(folder)
    assert verify.main(only_hashes) == 1
    (folder / "README.md").write_text(before)
    (folder / "model" / "more").write_text("x")
    bundle.write_sums(folder)
    assert verify.main(only_hashes) == 1
    (folder / "model" / "more").unlink()
    assert verify.main(only_hashes) == 1  # a line of the sums names it
    bundle.write_sums(folder)
    assert verify.main(only_hashes) == 0


def test_a_file_that_is_gone_or_broken_is_a_claim(
    tmp_path: Path, store_folder: Path, model: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whichever it is, with the sums as they were: no traceback, and never "reproduced"."""
    results(tmp_path, model)
    assert ship.main(words(tmp_path, store_folder)) == 0
    folder = tmp_path / "bundle"
    no_bundle = {"model.json", "provenance.json", "measured.jsonl", bundle.SUMS}
    for name in [*bundle.names(folder), bundle.SUMS]:
        kept = (folder / name).read_bytes()
        (folder / name).unlink()
        assert verify.main([str(folder)]) == (2 if name in no_bundle else 1), name
        (folder / name).write_bytes(b"\xff\x00" + kept[:20])
        assert verify.main([str(folder)]) == (2 if name in no_bundle - {bundle.SUMS} else 1), name
        (folder / name).write_bytes(kept)
    said = capsys.readouterr().out
    assert "not reproduced  the files of SHA256SUMS: README.md is missing" in said
    assert f"the record: {folder}/README.md: No such file or directory" in said
    assert "SHA256SUMS is no text" in said


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("selftest/0.png", "holds an image that can't be read"),
        ("selftest/answers.npy", "holds no answers"),
    ],
)
def test_a_broken_selftest_is_a_claim_where_its_sum_was_written_anew(
    tmp_path: Path,
    store_folder: Path,
    model: Artifact,
    name: str,
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Then only who reads it finds out."""
    results(tmp_path, model)
    assert ship.main(words(tmp_path, store_folder)) == 0
    (tmp_path / "bundle" / name).write_bytes(b"broken")
    bundle.write_sums(tmp_path / "bundle")
    capsys.readouterr()
    assert verify.main([str(tmp_path / "bundle")]) == 1
    assert reason in capsys.readouterr().out


def test_a_bundle_may_be_named_by_any_path_to_it(
    tmp_path: Path, store_folder: Path, model: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From below by "..", or over a link; an entry file outside the bundle is refused."""
    results(tmp_path, model)
    assert ship.main(words(tmp_path, store_folder)) == 0
    (tmp_path / "link").symlink_to(tmp_path / "bundle")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    for name in ("../bundle", "../link"):
        subject = verify._packed(bundle.read(Path(name)), tmp_path / "below")
        assert subject.artifact.path == tmp_path / "bundle" / "model" / "model.onnx"
    found = bundle.read(tmp_path / "bundle")
    outside = replace(found.provenance.artifact, file="../predict.py")
    leading_out = replace(found, provenance=replace(found.provenance, artifact=outside))
    with pytest.raises(UsageError, match="leads out of the bundle"):
        verify._packed(leading_out, tmp_path / "below")


def test_what_runs_is_held_against_the_row(
    tmp_path: Path, store_folder: Path, model: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    """Preprocessing, classes or code changed, and the sums written anew: told by name."""
    results(tmp_path, model)
    assert ship.main(words(tmp_path, store_folder)) == 0
    folder = tmp_path / "bundle"
    first = bundle.read(folder).model.classes[0]
    changes = {
        "model.json": {
            "model.json has another preprocess": ('"scale": 0', '"scale": 1'),
            "model.json has another threads": ('"threads": 1', '"threads": 2'),
            "model.json has another classes": (f'"{first}"', '"other"'),
        },
        "predict.py": {"predict.py is not what": ("import json", "import json, shutil")},
        "selftest.py": {"selftest.py is not what": ("return 0 if good else 1", "return 0")},
        "classes.txt": {"classes.txt is not what": (first, "other")},
    }
    for name, edits in changes.items():
        kept = (folder / name).read_text()
        for said, (before, after) in edits.items():
            assert before in kept, (name, before)
            (folder / name).write_text(kept.replace(before, after, 1))
            bundle.write_sums(folder)
            assert verify.main([str(folder), "--no-measure"]) == 1
            assert said in capsys.readouterr().out
        (folder / name).write_text(kept)
    bundle.write_sums(folder)
    assert verify.main([str(folder), "--no-measure", "--store", str(store_folder)]) == 0


def test_the_files_behind_a_bundle_are_hashed_anew(
    tmp_path: Path, store_folder: Path, model: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    """A changed one between the weights and the model is refuted; one that is gone is untold."""
    results(tmp_path, model)
    assert ship.main(words(tmp_path, store_folder)) == 0
    provenance = bundle.read(tmp_path / "bundle").provenance
    behind = (*provenance.chain[:-1], provenance.reference)
    for link in behind:
        shutil.copytree(store_folder / link.key, tmp_path / "store" / link.key)
    line = [str(tmp_path / "bundle"), "--no-measure", "--store", str(tmp_path / "store")]
    assert verify.main(line) == 0
    between = tmp_path / "store" / provenance.chain[-2].key
    with (between / "model.onnx").open("r+b") as stream:
        stream.write(b"\xff")
    assert verify.main(line) == 1
    shutil.rmtree(between)
    assert verify.main(line) == 3
    said, what = capsys.readouterr().out, "the files behind the model: "
    assert f"reproduced      {what}{len(behind)} of {len(behind)} are as recorded" in said
    assert f"not reproduced  {what}{between.name} has " in said
    assert f"cannot tell     {what}{len(behind) - 1} of {len(behind)} are as recorded" in said


def test_a_cache_of_python_is_a_strange_file(
    tmp_path: Path, store_folder: Path, model: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would be run in place of predict.py; the self-test leaves none."""
    results(tmp_path, model)
    assert ship.main(words(tmp_path, store_folder)) == 0
    folder = tmp_path / "bundle"
    test = [sys.executable, "-I", str(folder / "selftest.py")]
    assert subprocess.run(test, check=False, capture_output=True).returncode == 0
    assert verify.main([str(folder), "--no-measure", "--store", str(store_folder)]) == 0
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "predict.cpython-311.pyc").write_bytes(b"x")
    assert verify.main([str(folder), "--no-measure"]) == 1
    assert "is in no line (remove Python's cache)" in capsys.readouterr().out


@pytest.mark.slow
def test_it_runs_in_an_environment_without_us(
    tmp_path: Path, store_folder: Path, model: Artifact
) -> None:
    """A fresh one, with nothing in it but what requirements.txt names."""
    results(tmp_path, model)
    assert ship.main(words(tmp_path, store_folder)) == 0
    folder = tmp_path / "bundle"
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    install = [python, "-m", "pip", "install", "-q", "-c", str(ROOT / "constraints.txt")]
    done = subprocess.run(
        [*install, "-r", str(folder / "requirements.txt")],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0 and "Could not find a version" in done.stderr:
        pytest.skip(f"no package index: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr[-2000:]
    for arguments in ([str(folder / "selftest.py")], _predict(folder)):
        told = subprocess.run(
            [python, "-I", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert told.returncode == 0, told.stderr[-2000:]
        assert told.stdout.startswith("ok: 4 images") or len(told.stdout.splitlines()) == 5
    ours = [python, "-I", "-c", "import bench"]
    assert subprocess.run(ours, cwd=tmp_path, check=False, stderr=-3).returncode != 0


def _predict(folder: Path) -> list[str]:
    return [str(folder / "predict.py"), str(folder / "selftest" / "0.png")]


def test_help_needs_no_heavy_library() -> None:
    """Both commands tell their flags where neither torch nor onnx is installed."""
    for name in ("bench.ship", "bench.verify"):
        code = (
            "import sys, runpy; sys.modules.update(dict.fromkeys(('torch', 'onnx')));"
            f"sys.argv = ['x', '--help']; runpy.run_module({name!r}, run_name='__main__')"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
        )
        assert done.returncode == 0 and "--store DIR" in done.stdout, done.stderr


def test_what_runs_the_model_has_a_limit(
    tmp_path: Path, store_folder: Path, model: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child that answers and the bundle's own test: the file may be a stranger's."""
    results(tmp_path, model)
    limits: list[int] = []
    child, started = launch.Child, subprocess.run

    def starts(setting: launch.Setting, log: Path) -> launch.Child:
        limits.append(setting.memory_bytes)
        return child(setting, log)

    def runs(command: list[str], **more: Any) -> Any:
        if str(command[-2]).endswith("selftest.py"):
            limits.extend(more["preexec_fn"].args)
        return started(command, **more)

    monkeypatch.setattr("bench.host.child_memory_bytes", lambda: 3 << 30)
    monkeypatch.setattr(launch, "Child", starts)
    monkeypatch.setattr(subprocess, "run", runs)
    assert ship.main(words(tmp_path, store_folder)) == 0
    assert limits == [3 << 30, 3 << 30]


def test_answers_that_claim_more_than_there_is_refute_a_bundle(
    tmp_path: Path, store_folder: Path, model: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stranger's header of 40 TB in a file of 128 bytes: a sentence, whatever the sums say."""
    results(tmp_path, model)
    assert ship.main(words(tmp_path, store_folder)) == 0
    folder = tmp_path / "bundle"
    with (folder / bundle.ANSWERS).open("wb") as stream:
        absurd = {"descr": "<f4", "fortran_order": False, "shape": (10**12, 10)}
        np.lib.format.write_array_header_1_0(stream, absurd)
    bundle.write_sums(folder)
    capsys.readouterr()
    assert verify.main([str(folder), "--store", str(store_folder)]) == 1
    said = capsys.readouterr()
    assert "not reproduced  what runs follows from the row and its file" in said.out
    assert "not reproduced  how it runs" in said.out and "holds no answers" in said.out
    assert "Traceback" not in said.err
