"""The command line of the page."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.dashboard import __main__ as command
from bench.dashboard import settings
from bench.dashboard.settings import read
from bench.options import UsageError


def test_only_this_machine_unless_told_otherwise() -> None:
    """And nothing is named: what stands in the store is offered."""
    found = read([])
    assert (found.host, found.exposed, found.named, found.runs) == ("127.0.0.1", False, False, 72)
    assert read(["--host", "0.0.0.0"]).exposed


def test_flags_of_a_run_mean_what_they_mean_there(tmp_path: Path) -> None:
    """They are read by the same parser, and handed on to the child that builds."""
    words = ["-m", "vgg19*", "--recipes", "fp32", "-t", "1", "--store", str(tmp_path)]
    found = read(words)
    assert found.named
    assert found.options.variants == ("vgg19*",)
    assert found.options.threads == (1,)
    assert found.options.store == tmp_path
    assert found.argv == (
        *("--variants=vgg19*", "--recipes=fp32"),
        *(f"--store={tmp_path}", "--threads=1"),
    )


def test_a_model_of_one_s_own_is_named_with_what_is_said_of_it() -> None:
    """In one runtime unless others are named; the child that builds is told the same."""
    said = ["--model", "own.onnx", "--size", "32x32", "--first", "40", "--mean=-1,-1,-1"]
    found = read([*said, "--folder-order", "--data", "images"])
    assert found.named
    assert (found.options.model, found.options.size) == (("own.onnx",), (32, 32))
    assert found.options.runtimes == ("ort",)
    assert found.options.mean == (-1.0, -1.0, -1.0)
    assert read(list(found.argv)).options == found.options
    assert read([*said, "--runtimes", "openvino"]).options.runtimes == ("openvino",)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--preset", "tf"], "--preset"),
        (["--folder-order", "--data", "images"], "--folder-order says how the classes of --model"),
        (["--model", "nowhere.onnx"], "nowhere.onnx is no file"),
        (["-m", "vgg18"], "did you mean vgg19"),
        (["--runs", "2"], "--runs 2 is not between 3 and 1000"),
        (["--port", "99999"], "--port 99999"),
        (["--most-memory", "4"], "--most-memory 4 is not a size with its unit"),
        (["--most-models", "0"], "--most-models 0"),
        (["--records", "nowhere"], "--records nowhere has no records"),
    ],
)
def test_what_is_wrong_is_said_with_its_flag(words: list[str], complaint: str) -> None:
    """Before anything is started."""
    with pytest.raises(UsageError, match=complaint):
        settings.opened(read(words))


def test_help_needs_none_of_the_libraries() -> None:
    """The documentation's commands are checked where only the core is installed."""
    code = (
        "import sys\n"
        "for name in ('fastapi', 'starlette', 'uvicorn', 'swagger_ui_bundle'):\n"
        "    sys.modules[name] = None\n"
        "from bench.dashboard.__main__ import main\n"
        "main(['--help'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--most-memory" in done.stdout


def test_missing_libraries_are_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the extra that brings them, and exit code 2."""
    monkeypatch.setattr(settings, "_LIBRARIES", ("no_such_library",))
    assert command.main([]) == 2
    said = capsys.readouterr().err
    assert said == ("error: the page needs no_such_library: pip install 'deploybench[dashboard]'\n")
