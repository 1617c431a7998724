from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs torch")

from rich.console import Console

from export.train_board import Board, Sender, side_by_side
from export.train_job import Job, Said
from export.train_log import READABLE, SCHEMA, EpochLine, LogError, LogFile, read_log
from export.train_plot import PlotError, plot

ROOT = Path(__file__).parents[2]
LOGS = ("export/trained", "results/training")
LINE = EpochLine(1, 2.0, 0.25, 1.5, 0.5, 1e-3, (8, 8), best=True, seconds=3.0)
LINES = (LINE, dataclasses.replace(LINE, epoch=2, val_accuracy=0.4, best=False))


def written(tmp_path, lines=LINES, done=True):
    """A log as a training leaves it."""
    log = LogFile(tmp_path / "a.train.jsonl", {"variant": "vgg19"})
    log.record(lines[:1])
    log.record(lines)
    if done:
        log.finish({"best_epoch": 1})
    return log.path


def test_a_log_is_read_as_it_was_written(tmp_path):
    """Header, epochs and the end."""
    log = read_log(written(tmp_path))
    assert log.header["variant"] == "vgg19"
    assert log.epochs == LINES
    assert log.done


def test_a_log_grows_by_lines(tmp_path):
    """What is there is not written again; a second start writes it anew, without doubles."""
    written(tmp_path, done=False)
    assert len(written(tmp_path, done=False).read_text().splitlines()) == 3


def test_half_a_line_is_left_out(tmp_path):
    """A kill while writing costs that line only."""
    path = written(tmp_path)
    path.write_text(path.read_text()[:-20])
    log = read_log(path)
    assert log.epochs == LINES
    assert not log.done


@pytest.mark.parametrize("content", ["", "{}", "no json", '["training"]'])
def test_other_files_are_no_logs(tmp_path, content):
    """The sentence names the file."""
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    with pytest.raises(LogError, match=r"a\.jsonl"):
        read_log(path)
    with pytest.raises(LogError, match="missing"):
        read_log(tmp_path / "missing.jsonl")


def test_a_log_says_its_schema(tmp_path):
    """One without a number is of the first; a later one is refused, and both numbers named."""
    path = written(tmp_path)
    assert read_log(path).schema == SCHEMA
    head, *rest = path.read_text().splitlines()
    plain = json.loads(head)
    del plain["schema"]
    path.write_text("\n".join([json.dumps(plain), *rest]))
    assert (read_log(path).schema, read_log(path).half) == (1, False)
    path.write_text("\n".join([json.dumps({**plain, "schema": 9}), *rest]))
    with pytest.raises(LogError, match=r"a\.train\.jsonl .* schema 9, .* up to schema 2"):
        read_log(path)


def test_an_epoch_of_other_fields_is_told(tmp_path):
    """With file and line: not an error about arguments of a constructor of ours alone."""
    path = written(tmp_path)
    path.write_text(path.read_text().replace('"lr"', '"rate"'))
    with pytest.raises(LogError, match=r"a\.train\.jsonl line 2 is no epoch .*rate"):
        read_log(path)


@pytest.mark.parametrize("line", ["3", "null", '["epoch"]', '{"epoch": 1}'])
def test_a_line_of_no_kind_is_told(tmp_path, line):
    """With file and line: what it is can't be guessed."""
    path = written(tmp_path)
    path.write_text(f"{path.read_text()}{line}\n")
    with pytest.raises(LogError, match=r"a\.train\.jsonl line 5 is no line of a training log"):
        read_log(path)


def test_every_committed_training_log_is_read():
    """Whichever schema it is of: to its end, its key that of its plan, its best epoch kept."""
    paths = [path for folder in LOGS for path in sorted((ROOT / folder).glob("*.jsonl"))]
    assert len(paths) >= 13
    for path in paths:
        log = read_log(path)
        assert log.schema in READABLE and log.done, path
        text = json.dumps(log.header["plan"]).encode()
        assert log.header["key"] == hashlib.sha256(text).hexdigest()[:16], path
        best = [line.epoch for line in log.epochs if line.best][-1]
        last = json.loads(path.read_text("utf-8").splitlines()[-1])
        assert last["best_epoch"] == best, path


def test_a_line_for_people():
    """Shares as percentages, and whether the epoch was kept."""
    assert LINE.text() == (
        "epoch 1: loss 2.000, train 25.0%, val 50.00% (loss 1.500), lr 0.001, 3 s, kept"
    )


@pytest.mark.skipif(not importlib.util.find_spec("matplotlib"), reason="the extra plots")
def test_a_plot_is_the_same_every_time(tmp_path):
    """Equal logs, equal bytes; every log and part has a line."""
    logs = [read_log(written(tmp_path)), read_log(written(tmp_path))]
    plot(logs, tmp_path / "1" / "training.svg")
    plot(logs, tmp_path / "2" / "training.svg")
    first = (tmp_path / "1" / "training.svg").read_bytes()
    assert first == (tmp_path / "2" / "training.svg").read_bytes()
    assert b"<svg" in first


@pytest.mark.skipif(not importlib.util.find_spec("matplotlib"), reason="the extra plots")
def test_nothing_is_not_drawn(tmp_path):
    """A log without an epoch yet."""
    log = read_log(written(tmp_path, lines=(), done=False))
    with pytest.raises(PlotError, match="no epoch"):
        plot([log], tmp_path / "training.svg")


@pytest.mark.skipif(not importlib.util.find_spec("matplotlib"), reason="the extra plots")
def test_a_plot_that_cant_be_written_is_told(tmp_path):
    """With the file and the flag: a folder's name that is a file's, for instance."""
    path = written(tmp_path)
    with pytest.raises(PlotError, match=r"training\.svg can't be written .*--out"):
        plot([read_log(path)], path / "training.svg")


def test_steps_are_sent_in_bundles():
    """Few messages, no step lost, and texts in their place."""
    heard: list[Said] = []
    sender = Sender(heard.append, lambda: None)
    for _ in range(1000):
        sender(Said("a", what="training", done=1, total=1000))
    sender(Said("a", "epoch 1"))
    sender(Said("a", what="training", done=1, total=1000))
    sender.flush()
    assert len(heard) < 220
    assert sum(said.done for said in heard) == 1001
    assert [said.text for said in heard[-2:]] == ["epoch 1", ""]


def test_the_board_shows_lines_and_bars():
    """Text as it is, and a bar for each variant and task that comes to its end."""
    console = Console(record=True, width=100)
    with Board(console) as board:
        board.hear(Said("vgg19", what="training", done=1, total=2))
        board.hear(Said("vgg19", "epoch 1: [kept]"))
        board.hear(Said("vgg19", what="training", done=1, total=2))
    text = console.export_text()
    assert "vgg19: epoch 1: [kept]" in text
    assert "vgg19: training" in text and "2/2" in text


def failing(job, tell):
    """Each job ends in its own way."""
    if job.variant == "vgg19":
        raise ZeroDivisionError("a bug of ours")
    return f"{job.variant}: no such data" if job.variant == "student" else None


def test_a_child_that_breaks_hides_no_other_outcome():
    """What nobody foresaw is told with its place in the child, beside what else went wrong."""
    jobs = [Job(name, Path("data"), Path("out"), "a") for name in ("vgg19", "student", "xception")]
    with Board(Console(record=True)) as board:
        known, broken = sorted(side_by_side(failing, jobs, 1, board))
    assert known == "student: no such data"
    assert broken.startswith("vgg19: ") and broken.endswith("ZeroDivisionError: a bug of ours")
    assert "in failing" in broken


def test_a_log_says_now_and_then_how_far_it_is():
    """Where no bars can be drawn: every twenty seconds, whatever happens."""
    console = Console(record=True, width=100, force_terminal=False)
    seconds = iter(range(0, 1000, 5))
    with Board(console, lambda: next(seconds)) as board:
        for _ in range(40):
            board.hear(Said("vgg19", what="training", done=1, total=40))
    lines = [line for line in console.export_text().splitlines() if "% after" in line]
    assert len(lines) == 10
    assert lines[4].startswith("vgg19: training: 50 % after")


@pytest.mark.parametrize(
    ("folder", "drawing"), [("export/trained", "cifar10"), ("results/training", "plants40")]
)
def test_committed_drawings_follow_from_their_logs(tmp_path, folder, drawing):
    """Byte for byte, as docs/training.md has the commands, with the matplotlib that drew them."""
    matplotlib = pytest.importorskip("matplotlib")
    stands = (ROOT / "results" / "training" / f"{drawing}.svg").read_text("utf-8")
    if f"Matplotlib v{matplotlib.__version__}," not in stands:
        pytest.skip("drawn by another matplotlib")
    logs = sorted((ROOT / folder).glob("*.jsonl"))
    plot([read_log(path) for path in logs], tmp_path / f"{drawing}.svg")
    assert (tmp_path / f"{drawing}.svg").read_text("utf-8") == stands
