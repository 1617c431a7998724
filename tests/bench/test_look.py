"""``deploybench inspect``: a child reads the file, and whatever it does, we live."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench import look
from export.inspecting import Request, request, words_of


def child(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let a child that runs ``code`` stand in for the one that reads."""
    monkeypatch.setattr(look, "COMMAND", (sys.executable, "-c", code))


@pytest.mark.parametrize("code", [0, 2])
def test_its_exit_code_is_ours(monkeypatch, capfd, code):
    """It says itself what is wrong: we add nothing."""
    child(monkeypatch, f"import sys; print('its words'); sys.exit({code})")
    assert look.main(["a.onnx"]) == code
    assert capfd.readouterr() == ("its words\n", "")


def test_a_crash_is_a_sentence(monkeypatch, capfd):
    """A child that a library brought down: the signal, the likely reason, exit code 2."""
    child(monkeypatch, "import os; os.abort()")
    assert look.main(["a.onnx"]) == 2
    text = capfd.readouterr().err
    assert "error: a.onnx: reading it ended with SIGABRT" in text and "4096 MiB" in text


def test_another_exit_code_is_a_sentence(monkeypatch, capfd):
    """One that it never gives by itself."""
    child(monkeypatch, "import sys; sys.exit(3)")
    assert look.main(["a.onnx"]) == 2
    assert "ended with exit code 3" in capfd.readouterr().err


def test_its_time_is_limited(monkeypatch, capfd):
    """What its own alarm does not end, we do; nothing of it is left."""
    child(monkeypatch, "import os, time; print(os.getpid(), flush=True); time.sleep(600)")
    monkeypatch.setattr(look, "_GRACE_S", 2.0)
    assert look.main(["a.onnx", "--time-limit", "1"]) == 2
    out, err = capfd.readouterr()
    assert "not read within 1 s" in err
    with pytest.raises(ProcessLookupError):
        os.kill(int(out), 0)


def test_its_own_alarm_is_told_as_one(monkeypatch, capfd):
    """The child ends itself by SIGALRM when its time is over."""
    child(monkeypatch, f"import os; os.kill(os.getpid(), {int(signal.SIGALRM)})")
    assert look.main(["a.onnx"]) == 2
    assert "not read within 600 s" in capfd.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_child_too(number):
    """Ctrl-C or a polite kill: 130, no traceback, and nobody goes on reading."""
    child = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    code = f"""
import signal, sys
from bench import look
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
look.COMMAND = (sys.executable, "-c", {child!r})
sys.exit(look.main(["a.onnx"]))
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as started:
        assert started.stdout is not None and started.stderr is not None
        pid = int(started.stdout.readline())
        started.send_signal(number)
        assert started.wait() == 130
        assert started.stderr.read() == b""
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_words_mean_the_same_to_the_child():
    """What was parsed is handed on whole, also for a name that looks like a flag."""
    asked = Request(Path("-x.onnx"), 3, Path("a.svg"), Path("b.json"), 512, 9)
    assert request(words_of(asked), "it") == asked


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["a.txt"], "should end in .onnx, .pt"),
        (["a.onnx", "--treemap", "a.png"], "should end in .svg"),
        (["a.onnx", "--layers", "-1"], "--layers should be at least 0, not -1"),
        (["a.onnx", "--memory-limit", "1"], "--memory-limit should be at least 256, not 1"),
    ],
)
def test_usage_is_checked_before_anything(capsys, words, text):
    """Exit code 2, the flag and what it should be."""
    with pytest.raises(SystemExit) as ended:
        look.main(words)
    assert ended.value.code == 2
    assert text in capsys.readouterr().err


def test_a_real_file(tmp_path):
    """The whole way, with the real child: a state dict's layers on standard output."""
    torch = pytest.importorskip("torch")
    torch.save({"head.weight": torch.randn(4, 4)}, tmp_path / "a.pt")
    command = [sys.executable, "-m", "bench.cli", "inspect", str(tmp_path / "a.pt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "a.pt: PyTorch" in done.stdout and "head" in done.stdout
