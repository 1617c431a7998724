"""Models: what can be put on a card, a file in a runtime each; and what stands in a store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.case import NULL, Case
from bench.files import FileKey
from bench.rows import reference_case, table_order
from export.artifact import RECORD, Artifact, Store
from export.checkpoints import SEEDED
from export.recipes import RECIPES
from export.variants import OWN, VARIANTS
from runtimes import REGISTRY, available

FIVE: tuple[FileKey, ...] = (
    ("vgg19", "fp32", "onnx"),
    ("vgg19-pruned", "fp32", "onnx"),
    ("vgg19", "int8-dynamic", "onnx"),
    ("vgg19-pruned", "int8-dynamic", "onnx"),
    ("vgg19-scaled-160", "fp32", "onnx"),
)
"""What is built where nothing stands: the five cards that a user of VGG-19 asks about."""
FIVE_RUNTIME = "ort"
_MOST_CHOSEN = 6
_DONE = {"fp32-opt": "Optimised", "fp16-weights": "fp16 weights", "int4-weights": "4-bit weights"}
_DONE |= {"low-rank": "Low rank", "fp32-slim": "Slimmed", "int8-dynamic": "Quantized"}
_DONE |= {"fp32": "", "fp32-ort-tools": "Optimised (old tools)"}
_CHANGED = {"gap": "Average pooling"}


@dataclass(frozen=True)
class Model:
    """One file in one runtime, as the page offers it."""

    case: Case
    artifact: Artifact

    @property
    def name(self) -> str:
        """The key of its row, which is unique."""
        return str(self.case)

    @property
    def title(self) -> str:
        """What was done to the baseline: "Pruned + Quantized"; "Baseline": nothing."""
        return title(self.case.variant, self.case.recipe)

    @property
    def trained(self) -> bool:
        """Whether its weights come from somewhere; its classes may have no names then, too."""
        return self.artifact.weights != SEEDED


def title(variant: str, recipe: str) -> str:
    """The head of a card; see ``Model.title``."""
    parts = (_variant_words(variant), _recipe_words(recipe))
    return " + ".join(part for part in parts if part) or "Baseline"


def _variant_words(name: str) -> str:
    row = VARIANTS.get(name)
    if row is None or row.given is not None:
        return name
    if row.parent is None:
        return ""
    parent = VARIANTS[row.parent]
    if row.surgery is not None and row.surgery != parent.surgery:
        return "Pruned" if "prune" in row.surgery else name
    if row.builder == parent.builder and row.input_size != parent.input_size:
        return "Input scaled"
    return _CHANGED.get(name.rpartition("-")[2], name)


def _recipe_words(recipe: str) -> str:
    if recipe in _DONE:
        return _DONE[recipe]
    quantized = recipe.startswith("int8-")
    return f"Quantized ({recipe.removeprefix('int8-')})" if quantized else recipe


# --- what there is


def standing(store: Path) -> list[Artifact]:
    """The whole files of a store that a card can be made of, of each kind the newest.

    A file whose parity images are gone, or that doesn't say how it takes a picture, is none.
    """
    shelf = Store(store)
    newest: dict[tuple[str, ...], Artifact] = {}
    records = sorted(store.glob(f"*/{RECORD}"), key=lambda path: path.stat().st_mtime)
    for record in records:
        artifact = shelf.find(record.parent.name)
        if artifact is not None and _usable(artifact):
            kind = (artifact.variant, artifact.weights, artifact.recipe, artifact.format)
            newest[kind] = artifact
    return list(newest.values())


def _usable(artifact: Artifact) -> bool:
    known = artifact.variant in VARIANTS and artifact.recipe in RECIPES
    reference = Path(artifact.reference)
    images = all((reference / name).is_file() for name in ("inputs.npy", "logits.npy"))
    return known and bool(artifact.preprocess) and images


def models(artifacts: Iterable[Artifact], threads: int) -> list[Model]:
    """Each file in each installed runtime that opens it, in the order of the tables."""
    found = [
        Model(_case(artifact, runtime, threads), artifact)
        for artifact in artifacts
        for runtime in _openers(artifact)
    ]
    return sorted(found, key=lambda model: table_order(model.case))


def _case(artifact: Artifact, runtime: str, threads: int) -> Case:
    most = REGISTRY[runtime].most_threads
    used = min(threads, most) if most else threads
    return Case(artifact.variant, artifact.recipe, runtime, used, weights=artifact.weights)


def _openers(artifact: Artifact) -> Iterator[str]:
    recipe = RECIPES[artifact.recipe]
    for name in available():
        opens = artifact.format in REGISTRY[name].formats
        only = recipe.runtimes is None or name in recipe.runtimes
        if name != NULL and opens and only and name not in recipe.impossible:
            yield name


# --- which of them first


def baseline(offered: Sequence[Model]) -> Model | None:
    """The one that the others are compared with: the reference row of their table."""
    chosen = reference_case(model.case for model in offered)
    return next((model for model in offered if model.case == chosen), next(iter(offered), None))


def usual(offered: Sequence[Model]) -> list[Model]:
    """What is chosen before a user chooses: the user's own files, each recipe in one runtime.

    Where there are none the five of VGG-19, else one family in one runtime. All with the same
    weights: others answer another question.
    """
    own = [model for model in offered if model.case.weights == OWN]
    if own:
        return [model for model in own if model.case.runtime == own[0].case.runtime]
    five = [(variant, recipe) for variant, recipe, _ in FIVE]
    found = [
        model
        for model in offered
        if (model.case.variant, model.case.recipe) in five and model.case.runtime == FIVE_RUNTIME
    ]
    if found:
        chosen = _one_set(found)
        return sorted(chosen, key=lambda model: five.index((model.case.variant, model.case.recipe)))
    first = baseline(offered)
    if first is None:
        return []
    alike = [
        model
        for model in offered
        if (model.case.family, model.case.runtime) == (first.case.family, first.case.runtime)
    ]
    return _one_set(alike)[:_MOST_CHOSEN]


def _one_set(found: Sequence[Model]) -> list[Model]:
    """Those with one name of weights: where there is something to compare, trained, the most."""
    sets: dict[str, list[Model]] = {}
    for model in found:
        sets.setdefault(model.artifact.weights, []).append(model)
    return max(sets.values(), key=lambda row: (len(row) > 1, row[0].trained, len(row)))
