"""What the README shows of ``deploybench inspect`` is what it prints."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Built

README = Path(__file__).parents[3] / "README.md"


@pytest.mark.long
@pytest.mark.slow
def test_the_output_in_the_readme_is_real(built: Built):
    """The section's output is that of its command on the file that it names."""
    section = README.read_text("utf-8").partition("### What is in my file\n")[2]
    (shown,) = re.findall(r"^```text\n(.*?)^```", section.partition("\n### ")[0], re.M | re.S)
    file = built("xception-flatten", "fp32", "onnx").path
    command = [sys.executable, "-m", "bench.look", str(file), "--layers", "3"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    # Of eighteen blocks the README leaves out those in the middle, which a line of dots marks.
    parts = [part.strip("\n") for part in shown.split("\n...\n")]
    lines = [re.sub(r" +$", "", line) for line in printed.splitlines()]
    text = "\n".join(lines)
    places = [text.find(part) for part in parts]
    assert -1 not in places and places == sorted(places)
