"""Command line and TOML: what is wrong is said before anything runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from bench.command_line import parse, spelt_out
from bench.options import UsageError, matching
from bench.suites import SUITES


def test_defaults_come_from_the_suite() -> None:
    """Without flags the default suite decides blocks, seconds and samples."""
    options = parse([])
    suite = SUITES["default"]
    assert (options.blocks, options.seconds, options.samples) == (
        suite.blocks,
        suite.seconds,
        suite.samples,
    )


def test_quick_is_a_suite() -> None:
    """``--quick`` is short for ``--suite quick``."""
    assert parse(["--quick"]) == parse(["--suite", "quick"])


@pytest.mark.parametrize(
    ("flag", "value", "hint"),
    [
        ("--variants", "vg19", "did you mean vgg19"),
        ("--recipes", "int8-statc", "did you mean int8-static"),
        ("--runtimes", "zzz", "known: torch-eager, torch-inductor, "),
    ],
)
def test_unknown_names_get_the_nearest(flag: str, value: str, hint: str) -> None:
    """A name that nothing bears is refused with the nearest ones."""
    with pytest.raises(UsageError, match=flag) as caught:
        parse([flag, value])
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--variants", ""], "--variants names nothing: leave it out for the usual"),
        (["--runtimes", ","], "--runtimes names nothing"),
        (["--threads", "0"], "--threads 0 is not between 1 and"),
        (["--batch-sizes", "0"], "--batch-sizes 0"),
        (["--blocks", "-1"], "--blocks -1"),
        (["--blocks", "0"], "--blocks 0"),
        (["--memory-limit", "-5"], "--memory-limit -5"),
        (["--seconds", "1e9"], "--seconds 1e+09"),
        (["--threads", "two"], "--threads"),
        (["--accuracy", "all"], "--accuracy is about labelled images: it needs --data"),
        (["--accuracy-images", "9"], "--accuracy-images is about labelled images: it needs --data"),
        (["--data", "x", "--accuracy-images", "0"], "--accuracy-images 0 is not above 0"),
        (
            ["--data", "x", "--accuracy", "none", "--accuracy-images", "9"],
            "--accuracy-images is for --accuracy all or sample",
        ),
    ],
)
def test_ranges_are_checked_and_the_flag_is_named(words: list[str], part: str) -> None:
    """A number out of range is refused by flag and value."""
    with pytest.raises(UsageError) as caught:
        parse(words)
    assert part in str(caught.value)


def test_toml_has_the_flags_names_and_the_command_line_wins(tmp_path: Path) -> None:
    """A TOML file fills in what the command line leaves open."""
    file = tmp_path / "run.toml"
    file.write_text('variants = ["vgg19*"]\nbatch-sizes = [1, 4]\nblocks = 5\n')
    options = parse(["--config", str(file), "--blocks", "4"])
    assert (options.variants, options.batch_sizes, options.blocks) == (("vgg19*",), (1, 4), 4)


def test_the_page_can_name_what_a_file_said(tmp_path: Path) -> None:
    """The flags of a --config file stand in its place: the file itself may be gone tomorrow."""
    file = tmp_path / "run.toml"
    file.write_text('variants = ["vgg19*"]\nbatch_sizes = [1, 4]\nseconds = 0.5\nfresh = false\n')
    words = ["--config", str(file), "-t", "2", "--seconds", "1"]
    told = spelt_out(words)
    assert str(file) not in told
    assert shlex.join(told) == "--variants 'vgg19*' --batch-sizes 1,4 --seconds 1.0 --threads 2"
    assert parse(told) == parse(words)
    assert spelt_out(["--quick"]) == ["--quick"]


def test_quick_is_a_name_in_toml_too(tmp_path: Path) -> None:
    """Every flag can stand in the file, the short one included."""
    file = tmp_path / "run.toml"
    file.write_text("quick = true\n")
    assert parse(["--config", str(file)]).suite == "quick"


def test_a_number_in_toml_needs_no_list(tmp_path: Path) -> None:
    """`threads = 1` is what anybody would write."""
    (tmp_path / "run.toml").write_text("threads = 1\nbatch-sizes = 4\n")
    options = parse(["--config", str(tmp_path / "run.toml")])
    assert (options.threads, options.batch_sizes) == ((1,), (4,))


def test_quick_and_another_suite_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither is silently dropped."""
    with pytest.raises(SystemExit) as ending:
        parse(["--quick", "--suite", "full"])
    assert ending.value.code == 2
    assert "not allowed with" in capsys.readouterr().err


def test_a_typo_in_toml_is_an_error(tmp_path: Path) -> None:
    """An unknown key never passes silently."""
    file = tmp_path / "run.toml"
    file.write_text("blokcs = 5\n")
    with pytest.raises(UsageError, match="did you mean blocks"):
        parse(["--config", str(file)])


def test_toml_that_is_none_is_named(tmp_path: Path) -> None:
    """A file that can't be read or parsed is refused with its name."""
    with pytest.raises(UsageError, match="absent.toml"):
        parse(["--config", str(tmp_path / "absent.toml")])
    (tmp_path / "bad.toml").write_text("= 3")
    with pytest.raises(UsageError, match="is not TOML"):
        parse(["--config", str(tmp_path / "bad.toml")])


def test_globs_keep_the_order_of_the_table() -> None:
    """Names come in the order of what is matched, not of the patterns."""
    assert matching(["c", "a*"], ["ab", "b", "c"]) == ("ab", "c")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--ray", "auto", "--against", "HEAD~1"], "--against can't be had with --ray: the other"),
        (["--ray", "auto", "--budget", "1m"], "--budget can't be had with --ray: each machine"),
        (["--prices", "prices.toml"], "--prices is about the machines of a fleet: it needs --ray"),
    ],
)
def test_what_a_fleet_can_not_do_is_refused_by_its_flag(
    words: list[str], part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a cluster is looked for; so is what is said of a fleet where there is none."""
    monkeypatch.setattr("bench.option_checks.importlib.util.find_spec", lambda name: object())
    with pytest.raises(UsageError) as caught:
        parse(words)
    assert part in str(caught.value)
    assert parse(["--ray", "auto", "--prices", "prices.toml"]).prices == "prices.toml"


def test_a_fleet_needs_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra by its name, before a cluster is looked for."""
    monkeypatch.setattr("bench.option_checks.importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        UsageError, match=re.escape("--ray needs Ray: pip install 'deploybench[ray]'")
    ):
        parse(["--ray", "auto"])
