"""Figures of a recommendation as sentences name them: pure functions, with units and intervals."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from bench.constraints import Judgement, Kind
from bench.contenders import AXES, Contender, answers, hidden_by_twin, ratio
from bench.stats import Estimate
from bench.text import (
    AS_AN_AA_PAIR,
    difference_text,
    fenced,
    interval_text,
    number,
    percent,
    percent_interval,
    plain,
    rounded,
)


def figure(axis: str, one: Contender, *, interval: bool = True) -> str:
    """What a row has on an axis, with its unit."""
    found = one.figures[axis]
    if found is None:
        return f"{AXES[axis]} unknown"
    return f"{AXES[axis]} {_AXIS_TEXT[axis](found, interval)}"


def _scaled(scale: float, unit: str, found: Estimate, interval: bool) -> str:
    return f"{interval_text(found, scale) if interval else number(found, scale)} {unit}"


def _exact_mb(found: Estimate, interval: bool) -> str:
    del interval
    return f"{rounded(found.value / 1e6, digits=4)} MB"


def _right(found: Estimate, interval: bool) -> str:
    return f"{percent_interval(found) if interval else percent(found)} %"


_AXIS_TEXT = MappingProxyType(
    {
        "latency": lambda found, interval: _scaled(1e3, "ms", found, interval),
        "size": _exact_mb,
        "memory": lambda found, interval: _scaled(1e-6, "MB", found, interval),
        "load": lambda found, interval: _scaled(1e3, "ms", found, interval),
        "accuracy": _right,
    }
)
KIND_AXIS: Mapping[Kind, str] = MappingProxyType(
    {
        "percentile": "latency",
        "load": "load",
        "size": "size",
        "memory": "memory",
        "accuracy": "accuracy",
    }
)


def held(judgement: Judgement) -> str:
    """The figure that is held against a limit, or why there is none."""
    found, kind = judgement.figure, judgement.constraint.kind
    if found is None:
        return plain(judgement.reason)
    if kind == "drop":
        return f"{difference_text(found, 100)} points lost"
    shown = _beside_limit(found, kind, judgement.constraint.limit)
    return f"{shown} ({plain(judgement.reason)})" if judgement.reason else shown


def _beside_limit(found: Estimate, kind: Kind, limit: float) -> str:
    """With its unit; neither end is rounded onto the limit, or across it, from where it lies."""
    if kind == "size":
        return _exact_mb(found, True)
    scale, unit = _UNITS[kind]
    value = percent(found) if kind == "accuracy" else number(found, scale)
    if found.low is None or found.high is None or found.half_width is None:
        return f"{value} {unit}"
    half, fences = found.half_width * scale, (limit * scale,)
    low, high = (fenced(end * scale, half, fences) for end in (found.low, found.high))
    return f"{value} ({low}–{high}) {unit}"


_UNITS: Mapping[Kind, tuple[float, str]] = MappingProxyType(
    {
        "percentile": (1e3, "ms"),
        "load": (1e3, "ms"),
        "memory": (1e-6, "MB"),
        "accuracy": (100, "%"),
    }
)


def beyond(judgement: Judgement) -> str:
    """By how much the estimate is beyond the limit."""
    found, limit = judgement.figure, judgement.constraint.limit
    if found is None:
        return held(judgement)
    if judgement.constraint.kind in ("drop", "accuracy"):
        return f"{held(judgement)}, {100 * abs(found.value - limit):.2g} points off"
    return f"{held(judgement)}, {rounded(judgement.excess, digits=3)} times the limit"


def better_by(one: Contender, other: Contender, axis: str) -> str:
    """How much better ``one`` is than ``other`` on an axis, with its interval if there is one."""
    if axis == "accuracy":
        turned = answers(other, one)
        if turned is None:
            return "its accuracy can't be compared"
        return f"{difference_text(turned.difference, 100)} points of top-1"
    found = ratio(one, other, axis)
    if found is None:
        return f"its {AXES[axis]} can't be compared"
    if axis == "size":
        return f"{rounded(found.value)} times smaller"
    mark = f" {AS_AN_AA_PAIR}" if axis == "latency" and hidden_by_twin(one, other) else ""
    word = {"latency": "faster", "memory": "less memory", "load": "faster to load"}[axis]
    return f"{interval_text(found)} times {word}{mark}"
