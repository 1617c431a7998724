"""Case: one row of a table, planned before anything is built."""

from __future__ import annotations

import importlib.metadata
import random
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import ConfigDict

from bench.options import PRECISIONS, SCENARIOS, Options, UsageError, matching
from bench.suites import ALL, GIVEN_RECIPES, SUITES, Selector
from export.checkpoints import SEEDED, CheckpointsError, weights_of
from export.recipes import RECIPES, STEPS, chains_of
from export.variants import ALIASES, OWN, VARIANTS, shown_name, weights_name
from runtimes import REGISTRY, available, missing

NULL = "null"
AGAIN = "again"
"""The copy that an A/A pair consists of: the same file, measured under a second name."""
BASE = "base"
"""The copy that is measured with another version of the code (``--against``)."""
LOADGEN = "mlcommons-loadgen"
SAMPLES_PER_QUERY = 8
"""Of MultiStream, by MLPerf's rules."""
_BY_LOADGEN = ("multi", "offline", "server")
"""Single is measured by our own loop, and by LoadGen where that is installed."""
ONCE = ("server",)
"""A search is long, and each of its rates a child of its own: not in every round."""
_EXTRAS = {
    "onnxruntime-tools": "ort-tools",
    "torchao": "torch",
    "pnnx": "ncnn",
    "MNN": "mnn",
    "litert-torch": "litert",
    "litert-converter": "litert",
    "ai-edge-litert": "litert",
    "ai-edge-quantizer": "litert",
    "executorch": "executorch",
}
"""Library -> the extra that brings it, where that is not ``build``."""


@dataclass(frozen=True, order=True)
class Case:
    """What is measured in one row. ``str(case)`` is the row's key.

    ``weights`` is the short name of the weights; ``precision`` is what the
    runtime computes in where the file leaves that open. ``copy`` sets rows apart
    that are otherwise the same: the second of an A/A pair, the base of a comparison.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    variant: str
    recipe: str
    runtime: str
    threads: int
    batch_size: int = 1
    weights: str = SEEDED
    precision: str = "fp32"
    scenario: str = "single"
    copy: str = ""

    def __str__(self) -> str:
        weights = "" if self.weights == SEEDED else f"@{self.weights}"
        precision = "" if self.precision == "fp32" else f"+{self.precision}"
        scenario = "" if self.scenario == "single" else f"/{self.scenario}"
        return (
            f"{self.variant}{weights}/{self.recipe}/{self.runtime}{precision}"
            f"/t{self.threads}/b{self.batch_size}{scenario}{f'#{self.copy}' if self.copy else ''}"
        )

    @property
    def family(self) -> str:
        """The family whose table this row stands in.

        All given models stand in one; any other that is not in VARIANTS is one of its own.
        """
        if self.weights == OWN:
            return OWN
        return VARIANTS[self.variant].family if self.variant in VARIANTS else self.variant

    @property
    def shown_variant(self) -> str:
        """The variant's name in a table: the alias where there is one."""
        return shown_name(self.variant, self.recipe)


def plan(options: Options) -> tuple[Case, ...]:
    """Every case that ``options`` ask for, in the order of the tables.

    A combination that cannot be built (a recipe with no chain for a runtime's
    format) is a case only where both were named: its row gives the reason.
    Raises :class:`UsageError` if nothing is left.
    """
    cases = dict.fromkeys(
        Case(variant, recipe, runtime, threads, batch_size, _weights(variant, options), precision)
        for selector in _selectors(options)
        for variant, recipe, runtime in _pairs(selector, options)
        for precision in _precisions(recipe, runtime, selector.precisions or options.precisions)
        for threads in selector.threads or options.threads
        for batch_size in selector.batch_sizes or options.batch_sizes
    )
    if not cases:
        raise UsageError(_nothing(options))
    whole = _with_scenarios(tuple(_one_null_per_family(cases)), options)
    return tuple(sorted(whole, key=_table_order))


def _weights(variant: str, options: Options) -> str:
    """The short name of the weights that a variant is built with."""
    try:
        return weights_name(weights_of(variant, options.weights, options.checkpoints))
    except CheckpointsError as exc:
        raise UsageError(str(exc)) from exc


def _nothing(options: Options) -> str:
    """Why a plan is empty, as far as it can be told."""
    fixed = [f"{name} fixes the recipe {ALIASES[name].recipe}" for name in ALIASES]
    hints = (*_other_precisions(options), f"note that {'; '.join(fixed)}")
    return (
        "nothing to measure: no recipe of --recipes runs on a runtime of --runtimes in one of "
        f"--precisions ({', '.join(options.precisions)}) for these --variants "
        f"(of suite {options.suite}); {'; '.join(hints)}"
    )


def _other_precisions(options: Options) -> Iterator[str]:
    """Which of the runtimes that were named compute in none of the precisions."""
    for name in matching(options.runtimes, REGISTRY):
        own = REGISTRY[name].precisions
        if not set(own) & set(options.precisions):
            asked = " or ".join(options.precisions)
            yield f"{name} can't compute in {asked}, only in {' or '.join(own)}"


def crossover(cases: Sequence[Case], rounds: int, seed: int) -> Iterator[tuple[int, Case]]:
    """Blocks in measuring order: every round holds each case once, in a random order.

    A slow drift of the machine then hits every case alike, and ratios can be
    paired by round. Every second round goes back the way that the one before it
    came, so that over the two of them a steady drift cancels: with an order of its
    own for each, one case comes first in all of three rounds once in four times,
    and the intervals of such a run are narrow and wrong. A search for a
    rate stands in the first round only.
    """
    chance = random.Random(seed)
    order: Sequence[Case] = ()
    for number in range(rounds):
        order = order[::-1] if number % 2 else chance.sample(cases, len(cases))
        for case in order:
            if number == 0 or case.scenario not in ONCE:
                yield number, case


def unsupported(case: Case) -> str | None:
    """Why a case cannot be built at all; ``None`` if it can."""
    recipe, runtime = RECIPES[case.recipe], REGISTRY[case.runtime]
    if reason := _no_setting(case):
        return reason
    if case.runtime in recipe.impossible:
        return recipe.impossible[case.runtime]
    if recipe.runtimes is not None and case.runtime not in (*recipe.runtimes, NULL):
        return f"{case.recipe} makes files for {', '.join(recipe.runtimes)} only"
    if file_format(case) is None:
        opens = " or ".join(runtime.formats)
        if _is_given(case.variant):
            return f"{case.runtime} opens {opens}, which no .onnx file can be turned into here"
        return f"{case.recipe} can't be made as {opens}, which is what {case.runtime} opens"
    return missing(case.runtime) or _missing_tools(case) or _no_scenario(case)


def _no_setting(case: Case) -> str | None:
    """Why a file or a runtime can't have the case's threads, precision or batch."""
    refused = REGISTRY[case.runtime].refuses.get(case.precision)
    most, batch = REGISTRY[case.runtime].most_threads, _fixed_batch(case)
    if 0 < most < case.threads:
        return f"{case.runtime} computes on {most} thread: it has no setting"
    if batch not in (None, case.batch_size):
        return f"the file fixes its batch to {batch}: measure it with --batch-sizes {batch}"
    return refused


def _is_given(variant: str) -> bool:
    return VARIANTS[variant].given is not None


def _fixed_batch(case: Case) -> int | None:
    given = VARIANTS[case.variant].given
    return given.batch if given else None


def _chains(variant: str, recipe: str) -> Mapping[str, tuple[str, ...]]:
    """By format the steps that make a variant's file."""
    return chains_of(RECIPES[recipe], given=_is_given(variant))


def _no_scenario(case: Case) -> str | None:
    """Why a case can't be measured under its scenario."""
    if case.scenario == "server" and case.batch_size > 1:
        return "a server answers one image at a time here: batch 1 only"
    if case.scenario == "multi" and SAMPLES_PER_QUERY % case.batch_size:
        return f"a query of {SAMPLES_PER_QUERY} images can't be cut into batches of this size"
    if case.scenario == "workers" and case.threads == 1:
        return "one thread makes one worker, which is the row without workers: give more --threads"
    return missing_loadgen() if case.scenario in _BY_LOADGEN else None


def missing_loadgen() -> str | None:
    """Why MLPerf's LoadGen can't be used here and how to get it; ``None`` if it can."""
    try:
        importlib.metadata.version(LOADGEN)
    except importlib.metadata.PackageNotFoundError:
        return "MLPerf LoadGen is not installed: pip install 'deploybench[loadgen]'"
    return None


def _missing_tools(case: Case) -> str | None:
    """What building the case's file needs and is not installed, with how to get it."""
    for step in _chains(case.variant, case.recipe)[file_format(case) or ""]:
        for library in STEPS[step].libraries:
            try:
                importlib.metadata.version(library)
            except importlib.metadata.PackageNotFoundError:
                extra = _EXTRAS.get(library, "build")
                return f"building needs {library}: pip install 'deploybench[{extra}]'"
        for program in STEPS[step].programs:
            if shutil.which(program) is None:
                return f"building needs {program}, from the system's packages"
    return None


def file_format(case: Case) -> str | None:
    """The format in which the case's file is built: the runtime's first that the recipe makes.

    A runtime whose files are compiled for a precision has a format for each: ``aoti-bf16``.
    """
    chains = _chains(case.variant, case.recipe)
    formats = REGISTRY[case.runtime].formats
    named = [f"{name}-{case.precision}" for name in formats]
    return next((name for name in (*named, *formats) if name in chains), None)


def host_bound(variant: str, recipe: str, format: str) -> bool:
    """Whether a file is made for the instruction sets of the machine that builds it."""
    return any(STEPS[step].host_bound for step in _chains(variant, recipe)[format])


def portable_prefix(variant: str, recipe: str, format: str) -> tuple[str, str] | None:
    """Recipe and format of what a host-bound file is made from and any machine can build.

    The longest one that a recipe makes; ``None``: there is none, or the file is portable itself.
    """
    steps = _chains(variant, recipe)[format]
    bound = [index for index, step in enumerate(steps) if STEPS[step].host_bound]
    for length in range(bound[0] if bound else 0, 0, -1):
        for name in RECIPES:
            for made, chain in _chains(variant, name).items():
                if chain == steps[:length]:
                    return name, made
    return None


def statically_quantised(recipe: str) -> bool:
    """Whether ``--int8-choice`` decides how the recipe's .onnx files are quantised.

    Files of other formats never: their converters have quantisers of their own.
    """
    known = RECIPES.get(recipe)
    steps = known.chains.get("onnx", ()) if known else ()
    return any("int8" in STEPS[step].options for step in steps)


def _selectors(options: Options) -> tuple[Selector, ...]:
    """The suite's own selectors, or one from the flags that name recipes or runtimes.

    Of given models all that can be had, unless flags say less.
    """
    own = _own_selectors(options)
    if own and not options.variants:
        return own
    return (*own, *_suite_selectors(options))


def _own_selectors(options: Options) -> tuple[Selector, ...]:
    names = tuple(row.name for row in options.given)
    if not names:
        return ()
    recipes = matching(options.recipes, RECIPES) if options.recipes else GIVEN_RECIPES
    return (Selector(names, recipes, options.runtimes or (ALL,)),)


def _suite_selectors(options: Options) -> tuple[Selector, ...]:
    suite = SUITES[options.suite].selectors
    if not options.recipes and not options.runtimes:
        return suite
    recipes = options.recipes or tuple(name for row in suite for name in row.recipes)
    named = options.runtimes or tuple(name for row in suite for name in row.runtimes)
    variants = tuple(name for row in suite for name in row.variants)
    return (Selector(variants, matching(recipes, RECIPES), named),)


def _pairs(selector: Selector, options: Options) -> Iterator[tuple[str, str, str]]:
    """Variant, recipe, runtime of one selector, narrowed by ``--variants``."""
    own = tuple(row.name for row in options.given)
    wanted = (*own, *options.variants) if options.variants else ("*",)
    explicit = bool(options.recipes and options.runtimes and ALL not in options.runtimes)
    # Who asks for a runtime, or for all, is told what can't be; a suite's own choice is silent.
    asked = ALL in selector.runtimes or bool(options.runtimes)
    for variant in _known(selector, options):
        for recipe in selector.recipes:
            if matching(wanted, (variant, shown_name(variant, recipe))):
                for runtime in _chosen(selector):
                    known = runtime in RECIPES[recipe].impossible
                    told = asked and known and not _is_given(variant)
                    if explicit or told or _makes_sense(variant, recipe, runtime):
                        yield variant, recipe, runtime


def _chosen(selector: Selector) -> tuple[str, ...]:
    """The selector's runtimes; a sweep needs no row for the harness itself."""
    every = ALL in selector.runtimes
    names = available() if every else matching(selector.runtimes, REGISTRY)
    sweep = selector.threads or selector.batch_sizes
    return tuple(name for name in names if not (sweep and name == NULL))


def left_out(options: Options) -> tuple[str, ...]:
    """What was asked for in general terms and is not installed, each with how to get it."""
    asked = options.runtimes or tuple(
        name for row in SUITES[options.suite].selectors for name in row.runtimes
    )
    reasons = {name: missing(name) for name in REGISTRY} if ALL in asked else {}
    if "single" in options.scenarios:
        reasons["single, by our own loop only"] = missing_loadgen()
    return tuple(f"{name}: {reason}" for name, reason in reasons.items() if reason)


def _known(selector: Selector, options: Options) -> tuple[str, ...]:
    """The selector's variants, and those outside it that the user named to the letter.

    So ``xception*`` doesn't draw in the 2.3 GB variant, but its full name does.
    """
    if selector.fixed:
        return selector.variants
    named = {ALIASES[name].variant if name in ALIASES else name for name in options.variants}
    if options.given:  # what is named beside them is no part of their own selector
        own = {row.name for row in options.given}
        named = set() if own & set(selector.variants) else named
    return tuple(name for name in VARIANTS if name in selector.variants or name in named)


def _makes_sense(variant: str, recipe: str, runtime: str) -> bool:
    """Whether a combination is worth a row though nobody named it."""
    if runtime == NULL:
        return recipe == "fp32"
    only = RECIPES[recipe].runtimes
    makes = set(_chains(variant, recipe)) & set(REGISTRY[runtime].formats)
    return bool(makes) and (only is None or runtime in only)


def _precisions(recipe: str, runtime: str, asked: Sequence[str]) -> tuple[str, ...]:
    """What a row can be computed in, of what was asked for; other than fp32 only an fp32 file."""
    entry = REGISTRY[runtime]
    free = RECIPES[recipe].precision == "fp32"
    open_to = (*entry.precisions, *entry.refuses) if free else ("fp32",)
    return tuple(name for name in asked if name in open_to)


def _with_scenarios(cases: Sequence[Case], options: Options) -> Iterator[Case]:
    """Each case, and the same under every further scenario.

    Our own loop is always run: the others are set beside it. A suite's sweep and the
    harness's own row have no further scenario.
    """
    yield from cases
    for case in cases:
        swept = case.threads not in options.threads or case.batch_size not in options.batch_sizes
        if case.runtime != NULL and not swept:
            yield from (replace(case, scenario=n) for n in options.scenarios if n != "single")


def _one_null_per_family(cases: Iterable[Case]) -> Iterator[Case]:
    """The harness's overhead does not depend on the model: one such variant a table will do."""
    first: dict[tuple[str, str], str] = {}
    for case in cases:
        table = (case.family, case.weights)
        if case.runtime != NULL or first.setdefault(table, case.variant) == case.variant:
            yield case


def _table_order(case: Case) -> tuple[int, ...]:
    return (
        list(VARIANTS).index(case.variant),
        list(RECIPES).index(case.recipe),
        list(REGISTRY).index(case.runtime),
        list(PRECISIONS).index(case.precision),
        case.threads,
        case.batch_size,
        SCENARIOS.index(case.scenario),
    )
