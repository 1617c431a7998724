"""A recommendation for programs: one JSON document, figures in seconds, bytes and shares."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from bench.constraints import Judgement
from bench.more import Measure
from bench.pick import Judged, Recommendation
from bench.stats import Estimate

FORMAT = 1


def text(found: Recommendation) -> str:
    """The document as it is written."""
    return json.dumps(document(found), indent=1)


def document(found: Recommendation) -> dict[str, Any]:
    """Names of rows are their keys; what is unknown is ``null``."""
    return {
        "format": FORMAT,
        "exit_code": found.exit_code,
        "runs": [header.run for header in found.field.headers],
        "host_id": found.field.headers[0].host_id,
        "prefer": found.prefer,
        "constraints": [asdict(limit) for limit in found.limits],
        "pick": _name(found.pick),
        "runner_up": _name(found.runner_up),
        "nearest": _name(None if found.pick else found.nearest),
        "undecided": [_name(one) for one in found.open],
        "ties": [
            {"row": _name(tie.other), "would_decide": _measure(tie.remedy)} for tie in found.ties
        ],
        "level": [
            {
                "rows": [_name(pair.one), _name(pair.other)],
                "axis": pair.axis,
                "would_decide": _measure(pair.remedy),
            }
            for pair in found.level
        ],
        "without": {cost.constraint.flag: _name(cost.instead) for cost in found.costs},
        "rows": [_row(found, place, one) for place, one in enumerate(found.judged)],
        "left_out": {row.name: row.reason for row in found.field.left_out},
    }


def _name(one: Judged | None) -> str | None:
    return one.contender.name if one else None


def _row(found: Recommendation, place: int, one: Judged) -> dict[str, Any]:
    row = one.contender
    dominated = sorted(found.judged[above].contender.name for above in found.above[place])
    return {
        "row": row.name,
        "run": row.header.run,
        "verdict": {"level": row.verdict.level, "codes": list(row.verdict.codes)},
        "figures": {axis: _estimate(figure) for axis, figure in row.figures.items()},
        "dominated_by": dominated,
        "constraints": [_judgement(judgement) for judgement in one.judgements],
    }


def _judgement(one: Judgement) -> dict[str, Any]:
    return {
        "flag": one.constraint.flag,
        "outcome": one.outcome,
        "figure": _estimate(one.figure),
        "excess": one.excess if math.isfinite(one.excess) else None,
        "reason": one.reason,
        "would_decide": _measure(one.remedy),
    }


def _estimate(found: Estimate | None) -> Mapping[str, float | None] | None:
    return None if found is None else asdict(found)


def _measure(found: Measure | None) -> Mapping[str, Any] | None:
    return None if found is None else asdict(found)
