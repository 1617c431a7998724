"""What an hour of each kind of machine costs: a small TOML file.

::

    currency = "USD"

    [per_hour]
    "c7i.large" = 0.08925

The names are those of the kinds: of a node's resource ``host-kind:NAME``, or as the run shows them.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError

from bench.options import UsageError


@dataclass(frozen=True)
class Prices:
    """Per hour, by the kind's name, in ``currency``."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    currency: str
    per_hour: Mapping[str, float] = field(default_factory=dict)


_PRICES = TypeAdapter(Prices)


def read(file: str) -> Prices:
    """The prices in a TOML file. Raises :class:`UsageError`, naming what is wrong."""
    try:
        table = tomllib.loads(Path(file).read_text(encoding="utf-8"))
        prices = _PRICES.validate_python(table)
    except OSError as exc:
        raise UsageError(f"--prices {file}: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise UsageError(f"--prices {file} is not TOML: {exc}") from exc
    except ValidationError as exc:
        error = exc.errors()[0]
        place = ".".join(map(str, error["loc"]))
        raise UsageError(f"--prices {file}: {place}: {error['msg'].lower()}") from exc
    wrong = [name for name, price in prices.per_hour.items() if not 0 < price < 1e6]
    if wrong:
        price = prices.per_hour[wrong[0]]
        raise UsageError(f"--prices {file}: {wrong[0]} costs {price:g} an hour: write what it is")
    return prices


def check_names(file: str, prices: Prices, kinds: Iterable[str]) -> None:
    """Raise :class:`UsageError` for a price of what no machine is called: it would be in vain."""
    names = list(kinds)
    for name in prices.per_hour:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise UsageError(
                f"--prices {file}: no machine of the cluster is called {name!r}{hint}; its kinds "
                f"are {', '.join(map(repr, names))}"
            )
