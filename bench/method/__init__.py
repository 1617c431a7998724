"""Experiments on the method itself: whether what METHOD.md promises is so on this host.

``python -m bench.method NAME`` runs one and keeps its raw data in ``results/method``;
``python -m bench.method report`` writes the page that follows from them. Each experiment
is a module with an ``EXPERIMENT`` (see ``bench.method.experiment``); this table names them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

EXPERIMENTS: Mapping[str, str] = MappingProxyType(
    {
        "thresholds": "bench.method.thresholds",
        "stressor": "bench.method.stressor",
        "aa": "bench.method.aa",
        "power": "bench.method.power",
        "drift": "bench.method.drift",
        "agreement": "bench.method.agreement",
        "overhead": "bench.method.overhead",
        "loops": "bench.method.loops",
        "roofline": "bench.method.roofline",
        "scale": "bench.method.scale",
    }
)
"""Name -> module, in the order of the page."""
