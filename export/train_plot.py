"""Draw training logs: losses and accuracies over the epochs, as SVG (extra ``plots``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export.train_log import TrainLog


class PlotError(ValueError):
    """A plot that can't be drawn; the message names the remedy."""


def plot(logs: Sequence[TrainLog], file: Path) -> None:
    """One figure of all ``logs``, the same bytes for the same logs.

    A ``PlotError`` where matplotlib is not installed, there is nothing to draw, or the file
    can't be written.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise PlotError("plots need matplotlib: pip install 'deploybench[plots]'") from exc
    from export.fit import atomically

    drawn = [log for log in logs if log.epochs]
    if not drawn:
        raise PlotError("the logs have no epoch yet: there is nothing to draw")
    with mpl.rc_context({"svg.hashsalt": file.stem, "font.size": 9}):
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        _draw(figure, drawn)
        try:
            atomically(
                file, lambda part: figure.savefig(part, format="svg", metadata={"Date": None})
            )
        except OSError as exc:
            raise PlotError(
                f"{file} can't be written ({exc.strerror or exc}): name another --out"
            ) from exc


def _draw(figure: Any, logs: Sequence[TrainLog]) -> None:
    losses, accuracies = figure.subplots(1, 2)
    for number, log in enumerate(logs):
        epochs = [line.epoch for line in log.epochs]
        colour, name = f"C{number}", log.header["variant"]
        for axes, quantity, scale in ((losses, "loss", 1), (accuracies, "accuracy", 100)):
            for part, dashes in (("train", "--"), ("val", "-")):
                values = [scale * getattr(line, f"{part}_{quantity}") for line in log.epochs]
                axes.plot(epochs, values, dashes, color=colour, label=f"{name}, {part}", lw=1.2)
    losses.set(xlabel="epoch", ylabel="loss")
    accuracies.set(xlabel="epoch", ylabel="accuracy, %")
    accuracies.legend(fontsize=7, loc="lower right")
    for axes in (losses, accuracies):
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
