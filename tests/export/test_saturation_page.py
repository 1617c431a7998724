"""The page of what would saturate: the worst layers of each file, from what the command kept."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from export.saturation_page import Found, Saturation, main, page, read

LAYERS = (
    *(
        Saturation(
            f"Conv_{i}", "Conv", 27, 100, 10 + i, 1000, 10 * i, possible=0.5, layer=f"block{i}.conv"
        )
        for i in range(7)
    ),
    Saturation("Conv_9", "Conv", 9, immune="depthwise", layer="block9.conv"),
)
FOUND = Found("vgg19", "plants40", "int8-static", "k-1", "plants40.zip", 16, 256, LAYERS, "top-1 x")

SECTION = """\
## `vgg19` (plants40), `int8-static`

6 of 8 layers have sums that saturate on 16 images (plants40.zip); 1 can't have any, whatever the numbers. File `k-1`.

The worst 5 of these 6:

| layer       |   sums of |   sums that saturate, % |   outputs touched, % |   possible, % |
|-------------|-----------|-------------------------|----------------------|---------------|
| block6.conv |        27 |                  6.0000 |                16.00 |         50.00 |
| block5.conv |        27 |                  5.0000 |                15.00 |         50.00 |
| block4.conv |        27 |                  4.0000 |                14.00 |         50.00 |
| block3.conv |        27 |                  3.0000 |                13.00 |         50.00 |
| block2.conv |        27 |                  2.0000 |                12.00 |         50.00 |

top-1 x.
"""  # noqa: E501


def test_the_worst_five_and_how_many_of_all() -> None:
    """Character for character; the remedies stand above."""
    text = page([FOUND])
    assert text.endswith(SECTION)
    assert "`int8-static-7bit` and `int8-static-u8u8` rule it out" in text


def test_a_file_without_such_sums_has_no_table() -> None:
    """It says so; data that nobody named are the photographs."""
    text = page([Found("v", "seeded", "int8-static", "k", "", 16, 256, LAYERS[:1])])
    assert "0 of 1 layers have sums that saturate on 16 images (crops of the photographs" in text
    assert "worst" not in text


def test_the_command_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of several files, in their order; what is none of ours is a sentence, and a folder."""
    kept, other = tmp_path / "vgg19.json", tmp_path / "other.json"
    kept.write_text(json.dumps(asdict(FOUND)))
    assert read(kept) == FOUND
    out = tmp_path / "saturation.md"
    assert main([str(kept), str(kept), "--out", str(out)]) == 0
    assert out.read_text().count("## `vgg19`") == 2
    assert main([str(kept), "--out", str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err
    other.write_text('{"variant": "x"}')
    assert main([str(other), "--out", str(out)]) == 2
    assert (
        "other.json is nothing that python -m export.saturation --json" in capsys.readouterr().err
    )
