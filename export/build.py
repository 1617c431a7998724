"""Variant x Recipe -> Artifact: what has to be built, and under which keys.

Pure: it names functions and hashes their source, and never imports them. The
work itself is done by ``export.steps`` in child processes (``export.run``).
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict

from export.artifact import key_of
from export.recipes import RECIPES, STEPS, chains_of
from export.variants import OWN, VARIANTS, Variant

REFERENCE = "reference"
"""The pseudo-step that stores parity inputs and the fp32 torch module's outputs."""

PARITY_IMAGES = 16
PARITY_SEED = 2
CALIBRATION_SEED = 1
SEEDED_IMAGES = 8
"""Crops from which the BatchNorms of a seeded network take their statistics."""
CALIBRATION_METHODS = ("minmax", "entropy", "percentile")
GRAPH_LEVELS = ("basic", "extended", "layout", "all")


class CannotShrink(ValueError):
    """A step would gain nothing on this network, or can't work on it: no fault of anybody's."""


@dataclass(frozen=True)
class Int8:
    """How the static recipes of .onnx files round a network to INT8.

    ``percentile`` is that of the absolute values that stay in range with the method of
    that name, ``images`` the number that ranges are taken from. With ``per_channel``
    weights have a scale for each output. Activations are ``"u8"``, with a zero point
    wherever their range puts it, or ``"s8"``, symmetric: zero is 0. Weights are always
    symmetric; ``"u8"`` has them around 128. ``reduce_range`` gives them 7 bits
    (-64 to 64). ``keep_fp32`` names nodes of the prepared graph that stay in fp32.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    method: Literal["minmax", "entropy", "percentile"] = "minmax"
    percentile: float = 99.999
    images: int = 16
    per_channel: bool = True
    activation_type: Literal["u8", "s8"] = "u8"
    weight_type: Literal["s8", "u8"] = "s8"
    reduce_range: bool = False
    keep_fp32: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.activation_type, self.weight_type) == ("s8", "u8"):
            raise ValueError(
                "signed activations with unsigned weights can't be run: choose activation_type "
                "'u8' or weight_type 's8'"
            )

    def __str__(self) -> str:
        share = f" {self.percentile:g}" if self.method == "percentile" else ""
        scales = "per channel" if self.per_channel else "per tensor"
        bits = ", 7-bit weights" if self.reduce_range else ""
        kept = f", in fp32: {', '.join(self.keep_fp32)}" if self.keep_fp32 else ""
        types = f"{self.activation_type} x {self.weight_type}"
        return f"{self.method}{share}, {self.images} images, {scales}, {types}{bits}{kept}"


@dataclass(frozen=True)
class Options:
    """What a user can choose about building. Every field can enter a key.

    ``weights`` is ``"default"``, ``"seeded"``, ``"imagenet"`` or a file, and ``checkpoints``
    a folder of files for ``"default"``; see ``export.checkpoints``. ``data`` is an image
    folder or zip for calibration and parity; empty: crops of the photographs
    that scikit-learn ships. ``calibration_images`` counts images. ``int8`` says how
    single variants are quantised (``bench.search`` finds it out), instead of by the
    ``calibration_`` options. ``given`` are models of the user's: whoever reads these
    options has to register them (``export.variants``).
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    weights: str = "default"
    checkpoints: str = ""
    data: str = ""
    calibration_method: Literal["minmax", "entropy", "percentile"] = "minmax"
    calibration_images: int = 16
    graph_level: str = "all"
    ort_tools_level: int = 2
    calibration_percentile: float = 99.999
    int8: Mapping[str, Int8] = field(default_factory=dict)
    given: tuple[Variant, ...] = ()


@dataclass(frozen=True)
class WeightsFacts:
    """What is known of the weights before anything is built.

    ``key`` is a hash of what determines the values; ``class_names`` is empty
    with seeded weights (the variant's own count, placeholders then). ``learnt_size`` is
    the height and width that they were trained at; ``None``: nobody said.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: str
    key: str
    class_names: tuple[str, ...] = ()
    placeholder_names: bool = True
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    first: int | None = None
    learnt_size: tuple[int, int] | None = None


SEEDED = WeightsFacts("seeded", key="seeded-1")


@dataclass(frozen=True)
class Wanted:
    """One file that somebody asks for."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    variant: str
    recipe: str
    format: str

    def __str__(self) -> str:
        return f"{self.variant}/{self.recipe} ({self.format})"


@dataclass(frozen=True)
class Node:
    """One artifact of the store: a step applied to a variant's module or to another node."""

    key: str
    variant: str
    recipe: str
    format: str
    step: str
    source: Node | None = None
    reference: str = ""
    provenance: Mapping[str, object] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Context:
    """What the keys of all nodes of one build depend on."""

    options: Options
    weights: Mapping[str, WeightsFacts] = field(default_factory=dict)
    """By variant; seeded where it says nothing."""
    data_key: str = ""
    """Fingerprint of the calibration and parity images."""


def int8_of(step: str, variant: str, options: Options) -> Int8:
    """How ``step`` quantises ``variant``: as was chosen for it, with what the step itself sets."""
    plain = Int8(
        options.calibration_method, options.calibration_percentile, options.calibration_images
    )
    return replace(options.int8.get(variant, plain), **STEPS[step].int8)


def given_facts(variant: Variant) -> WeightsFacts:
    """What is known of the weights of a given model."""
    assert variant.given is not None
    names = variant.given.class_names
    return WeightsFacts(
        OWN, key=variant.given.sha256[:16], class_names=names, placeholder_names=not names
    )


def class_names(variant: Variant, weights: WeightsFacts) -> tuple[str, ...]:
    """The weights' own class names; placeholders by the variant's count otherwise."""
    return weights.class_names or tuple(f"class_{i:04d}" for i in range(variant.classes))


def size_note(learnt: tuple[int, int] | None, used: tuple[int, int]) -> str:
    """Of weights that see another input size than they were trained at; empty: they don't."""
    if learnt is None or learnt == used:
        return ""
    then, now = ("x".join(map(str, size)) for size in (learnt, used))
    return f"learnt at {then}, used at {now}"


def chain(wanted: Wanted, context: Context) -> tuple[Node, ...]:
    """The nodes that lead to ``wanted``, in order, its reference first.

    Of a given file the reference is made from the copy of it, which stands behind it.
    """
    variant = VARIANTS[wanted.variant]
    given = variant.given is not None
    steps = chains_of(RECIPES[wanted.recipe], given=given)[wanted.format]
    if given:
        # What answers for a given file is the file itself.
        (first, reference), steps_done = _given(variant, steps[0], context), 1
        nodes, source, root = [reference, first], first, {}
    else:
        root = _module_facts(variant, context)
        reference, steps_done = _reference(variant, root, context), 0
        nodes, source = [reference], None
    for index, step in enumerate(steps[steps_done:], start=steps_done):
        above = root if source is None else {"source": source.key}
        provenance = {**above, **_step_facts(step, variant.name, context)}
        source = Node(
            key=_key(variant, step, provenance),
            variant=variant.name,
            recipe=_recipe_of(steps[: index + 1], STEPS[step].makes, given=given),
            format=STEPS[step].makes,
            step=step,
            source=source,
            reference=reference.key,
            provenance=provenance,
        )
        nodes.append(source)
    return tuple(nodes)


def _given(variant: Variant, step: str, context: Context) -> tuple[Node, Node]:
    """The copy of a given file, and the node that holds parity inputs and its answers to them."""
    assert variant.given is not None
    facts = given_facts(variant)
    provenance = {
        **{"file": variant.given.sha256, "input": variant.given.input},
        **{"output": variant.given.output, "preprocess": variant.given.preprocess},
        "classes": list(class_names(variant, facts)),
        **({"assumed_names": True} if variant.given.assumed_names else {}),
        **_step_facts(step, variant.name, context),
    }
    key = _key(variant, step, provenance)
    libraries = {"libraries": _versions(("onnxruntime", "pillow", "scikit-learn"))}
    above = {"source": key, **libraries, "code": _code([STEPS[step].function])}
    reference = _reference(variant, above, context)
    recipe = _recipe_of((step,), "onnx", given=True)
    copy = Node(key, variant.name, recipe, "onnx", step, None, reference.key, provenance)
    return copy, replace(reference, source=copy)


def _recipe_of(steps: tuple[str, ...], format: str, *, given: bool) -> str:
    """The recipe that ends after ``steps``; the last step's name where none does."""
    named = (
        row.name for row in RECIPES.values() if chains_of(row, given=given).get(format) == steps
    )
    return next(named, steps[-1])


def _key(variant: Variant, step: str, provenance: Mapping[str, object]) -> str:
    """A folder name that a person can read, made unique by the hash."""
    return f"{variant.name}.{step}.{key_of(provenance)}"


def _module_facts(variant: Variant, context: Context) -> dict[str, object]:
    """What determines the torch module: structure, weights, and their code."""
    weights = context.weights.get(variant.name, SEEDED)
    surgery = (variant.surgery,) if variant.surgery else ()
    code = (
        variant.builder,
        "export.weights:",
        "export.metadata:",
        "export.seeded:",
        "export.images:",
        *surgery,
    )
    libraries = ("torch", "pillow", "scikit-learn", *(("torch-pruning",) if surgery else ()))
    return {
        "builder": variant.builder,
        "surgery": variant.surgery,
        "input_size": list(variant.input_size),
        "classes": list(class_names(variant, weights)),
        "weights": [weights.name, weights.key],
        "seeded_images": SEEDED_IMAGES if weights == SEEDED else 0,
        "preprocess": [list(weights.mean), list(weights.std), weights.first],
        "code": _code(code),
        "libraries": _versions(libraries),
    }


def _reference(variant: Variant, module: Mapping[str, object], context: Context) -> Node:
    """The node that holds parity inputs and the torch module's answers to them."""
    provenance = {
        **module,
        "step": REFERENCE,
        "images": [PARITY_IMAGES, PARITY_SEED],
        "data": context.data_key,
        "image_code": _code(["export.images:"]),
    }
    key = _key(variant, REFERENCE, provenance)
    return Node(key, variant.name, REFERENCE, "npy", REFERENCE, None, key, provenance)


def _step_facts(name: str, variant: str, context: Context) -> dict[str, object]:
    """What a step adds to a key: its code, its libraries, the options that it reads."""
    step = STEPS[name]
    chosen: dict[str, Any] = {x: getattr(context.options, x) for x in step.options}
    if "int8" in chosen:
        chosen["int8"] = asdict(int8_of(name, variant, context.options))
    facts: dict[str, object] = {
        "step": name,
        "step_code": _code([step.function, *step.code]),
        "step_libraries": _versions(step.libraries),
        "options": chosen,
    }
    if "data" in chosen:
        facts["options"] = {**chosen, "data": context.data_key, "seed": CALIBRATION_SEED}
        facts["image_code"] = _code(["export.images:"])
    if step.host_bound:
        facts["host"] = instruction_sets()
    return facts


def _code(paths: Iterable[str]) -> str:
    """A hash of the source files behind dotted paths."""
    digests = [_source_digest(path.partition(":")[0]) for path in paths]
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:16]


@functools.cache
def _source_digest(module: str) -> str:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise LookupError(f"no module named {module}: a row of VARIANTS or STEPS is wrong")
    return hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest()


def _versions(distributions: Iterable[str]) -> dict[str, str]:
    return {name: _version(name) for name in distributions}


@functools.cache
def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


@functools.cache
def instruction_sets(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The CPU's vector extensions, which a host-bound file is written for."""
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "asimddp", "i8mm")
    try:
        words = set(cpuinfo.read_text().split())
    except OSError:
        words = set()
    return " ".join([platform.machine(), *(name for name in wanted if name in words)])
