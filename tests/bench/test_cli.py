"""The ``deploybench`` script: the modules under their short names."""

from __future__ import annotations

import importlib

import pytest

from bench import cli


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_subcommand_is_a_module_with_a_main(command: str) -> None:
    """``deploybench X`` is ``python -m MODULE``: both spellings lead to one function."""
    module = importlib.import_module(cli.COMMANDS[command][0])
    assert callable(module.main)


def test_words_and_exit_code_pass_through(capsys: pytest.CaptureFixture[str]) -> None:
    """What stands behind the subcommand is the module's, and so is its exit code."""
    assert cli.main(["run", "--variants", "vg19"]) == 2
    assert "did you mean vgg19" in capsys.readouterr().err


def test_help_lists_the_subcommands(capsys: pytest.CaptureFixture[str]) -> None:
    """Without words, and with --help, one line a subcommand."""
    assert cli.main([]) == 0
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in cli.COMMANDS)


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """As of any other program."""
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("deploybench ")


def test_an_unknown_subcommand_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and what there is."""
    assert cli.main(["sing"]) == 2
    assert "there is no 'sing'" in capsys.readouterr().err
