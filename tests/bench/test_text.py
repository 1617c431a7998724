"""Numbers as text: no digit that the spread does not support."""

from __future__ import annotations

import pytest

from bench import text
from bench.stats import Estimate


@pytest.mark.parametrize(
    ("estimate", "shown"),
    [
        (Estimate(50.123, 50.1, 50.16), "50.12"),
        (Estimate(50.123, 49.6, 50.7), "50.1"),
        (Estimate(50.123, 48.8, 51.3), "50.1"),
        (Estimate(50.123, 45, 55), "50"),
        (Estimate(186.4, 140, 240), "190"),
        (Estimate(186.4, 1, 900), "200"),
        (Estimate(1.23456, 1.23456, 1.23456), "1.235"),
        (Estimate(1.23456), "1.23"),
        (Estimate(1234.56), "1230"),
        (Estimate(0.00021), "0.000210"),
        (Estimate(0.0), "0"),
        (Estimate(9.996), "10.0"),
    ],
)
def test_digits_are_what_the_spread_supports(estimate, shown) -> None:
    """The Particle Data Group's rounding; three digits without a spread, never more than four."""
    assert text.number(estimate) == shown


@pytest.mark.parametrize(
    ("estimate", "shown"),
    [
        (None, "–"),
        (Estimate(3.7163), "3.72x"),
        (Estimate(3.7163, 3.6, 3.83), "3.72x (3.60–3.83)"),
        (Estimate(3.7163, 3.2, 4.3), "3.7x (3.2–4.3)"),
        (Estimate(3.7163, 3.71, 3.722), "3.716x (3.710–3.722)"),
        (Estimate(1.01, 0.97, 1.05), "≈1 (0.97–1.05)"),
        (Estimate(1.7, 0.6, 4.9), "not distinguishable (0.6–4.9)"),
        (Estimate(0.5, 0.48, 0.52), "0.500x (0.480–0.520)"),
        # Rounded as the rest, these ends would read 1: on the wrong side of what is said.
        (Estimate(4, 1.24, 13), "4x (1.24–13)"),
        (Estimate(0.3, 0.101, 0.98), "0.3x (0.1–0.980)"),
    ],
)
def test_speed_ups_say_what_they_can_tell(estimate, shown) -> None:
    """An interval that holds 1 is no speed-up, whatever its middle."""
    assert text.speedup_text(estimate) == shown


def test_a_terminal_shows_text_without_escapes() -> None:
    """A command from a note can be copied as it stands."""
    reason = "pip install 'deploybench[mnn]' * <b> `x` \\"
    assert text.plain(reason) != reason
    assert text.unescaped(text.plain(reason)) == reason


def test_foreign_text_as_code_moves_no_terminal() -> None:
    """One line without what could end the code or colour a terminal."""
    assert text.code("ls `x`\n\x1b[31mred\u202e") == "`ls 'x' [31mred`"
