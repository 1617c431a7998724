"""Plots of the experiments: SVG by matplotlib, which is the extra ``plots``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.method.experiment import Experiment, ExperimentError, Size


def write_svg(path: Path, experiment: Experiment[Any], size: Size, lines: Sequence[Any]) -> None:
    """Draw an experiment's lines into ``path``; the same lines give the same file.

    Raises :class:`ExperimentError` where matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ModuleNotFoundError as exc:
        raise ExperimentError(f"{exc}: pip install 'deploybench[plots]'") from exc
    # Without a fixed salt and without the date the file would differ each time.
    with mpl.rc_context({"svg.hashsalt": path.stem, "font.size": 9}):
        figure = Figure(figsize=(10, 3.6), layout="constrained")
        experiment.draw(figure, size, lines)
        figure.savefig(path, format="svg", metadata={"Date": None})
