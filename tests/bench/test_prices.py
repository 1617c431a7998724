"""What an hour of each kind costs."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import prices
from bench.options import UsageError
from bench.prices import Prices


def written(folder: Path, text: str) -> str:
    """A file of prices with this text."""
    file = folder / "prices.toml"
    file.write_text(text)
    return str(file)


def test_prices_are_read(tmp_path: Path) -> None:
    """By the kinds' names, quoted where they have dots."""
    text = 'currency = "USD"\n[per_hour]\n"c7i.large" = 0.08925\n"Fast CPU, 4 cores" = 1\n'
    found = prices.read(written(tmp_path, text))
    assert found == Prices("USD", {"c7i.large": 0.08925, "Fast CPU, 4 cores": 1.0})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("currency = ", "is not TOML"),
        ("[per_hour]\na = 1", "currency: field required"),
        ('currency = "USD"\nprices = 1', "prices: unexpected keyword"),
        ('currency = "USD"\n[per_hour]\na = "much"', "per_hour.a: "),
        ('currency = "USD"\n[per_hour]\na = 0', "a costs 0 an hour"),
        ('currency = "USD"\n[per_hour]\nc7i.large = 1', "per_hour.c7i: "),
    ],
)
def test_what_is_wrong_is_named(text: str, complaint: str, tmp_path: Path) -> None:
    """With the file, the key and what it should be."""
    with pytest.raises(UsageError, match=complaint):
        prices.read(written(tmp_path, text))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Is told with the flag."""
    with pytest.raises(UsageError, match=r"--prices .*none\.toml: No such file"):
        prices.read(str(tmp_path / "none.toml"))


def test_a_price_of_no_machine_is_in_vain() -> None:
    """The nearest kind is named."""
    costs = Prices("USD", {"c7i.larg": 1.0})
    with pytest.raises(
        UsageError, match=r"called 'c7i\.larg' \(did you mean 'c7i\.large'\?\); its kinds"
    ):
        prices.check_names("p.toml", costs, ["c7i.large", "other"])
    prices.check_names("p.toml", Prices("USD", {"other": 1.0}), ["c7i.large", "other"])
