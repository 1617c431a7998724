"""The child side of a build: run steps, one artifact each (``python -m export.steps``).

Reads one :class:`Job` as JSON from standard input and writes one line of JSON
for each artifact to the file descriptor named on its command line. Standard
output and standard error are the libraries' to fill; the parent keeps them in a log.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter

from export import memory
from export.artifact import Artifact, LayerWork, Store, folder_bytes, folder_sha256, write_record
from export.build import (
    CALIBRATION_SEED,
    PARITY_IMAGES,
    PARITY_SEED,
    REFERENCE,
    SEEDED,
    SEEDED_IMAGES,
    CannotShrink,
    Node,
    Options,
    WeightsFacts,
    class_names,
    given_facts,
    int8_of,
)
from export.checkpoints import IMAGENET, weights_of
from export.images import ImageFolder, Preprocess, crops, sample_photographs, spread
from export.recipes import RECIPES, STEPS
from export.variants import VARIANTS, register

if TYPE_CHECKING:
    import torch

_BATCH = 4
_LEAST_SPREAD = 0.1
_FILES = {
    "onnx": "model.onnx",
    "pt2": "model.pt2",
    "torchscript": "model.ts",
    "aoti": "model.pt2",
    "aoti-bf16": "model.pt2",
    "ncnn": "model.param",
    "mnn": "model.mnn",
    "tflite": "model.tflite",
    "pte": "model.pte",
}
"""Format -> the entry file's name."""
_CONVERTERS = "export.convert:"
_CHECKED = 4
"""Images on which an export is compared at once; a run compares all of them."""


@dataclass(frozen=True)
class Job:
    """Nodes to build in this process, in order; their sources stand in the store."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    store: str
    nodes: tuple[Node, ...]
    options: Options
    weights: Mapping[str, WeightsFacts]
    """By variant; seeded where it says nothing."""


@dataclass(frozen=True)
class Check:
    """Describe ``weights`` and say which of ``variants`` they don't fit."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    store: str
    weights: str
    variants: tuple[str, ...]


@dataclass(frozen=True)
class Checked:
    """The answer to a check. ``misfits``: variant -> which key or shape is wrong."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    weights: WeightsFacts
    misfits: Mapping[str, str] = field(default_factory=dict)
    error: str = ""


JOB = TypeAdapter(Job)
CHECK = TypeAdapter(Check)
CHECKED = TypeAdapter(Checked)


def main() -> None:
    """Answer a job or a check (``sys.argv[3]``) on the descriptor ``sys.argv[1]``.

    ``sys.argv[2]`` is how many bytes of data this process may allocate.
    """
    memory.limit_own(int(sys.argv[2]))
    text = sys.stdin.buffer.read()
    with os.fdopen(int(sys.argv[1]), "w", buffering=1) as replies:
        if sys.argv[3] == "check":
            answer = check_weights(CHECK.validate_json(text))
            replies.write(CHECKED.dump_json(answer).decode() + "\n")
        else:
            job = JOB.validate_json(text)
            register(job.options.given)
            build_all(job, replies)


def build_all(job: Job, replies: TextIO) -> None:
    """Build each node of the job; a failed node is reported and ends the process."""
    builder = Builder(job, lambda text: replies.write(json.dumps({"note": text}) + "\n"))
    for node in job.nodes:
        replies.write(json.dumps({"building": node.key}) + "\n")
        try:
            artifact = builder.build(node)
        except Exception as exc:  # a child process begins here: every failure is a reason
            traceback.print_exc()
            reply = {
                "failed": node.key,
                "reason": memory.lack() if memory.is_lacking(exc) else _one_sentence(exc),
                "refused": _refuses(node, exc),
            }
            replies.write(json.dumps(reply) + "\n")
            sys.exit(1)
        replies.write(json.dumps({"built": artifact.key}) + "\n")


def check_weights(check: Check) -> Checked:
    """Read the weights and try them on each variant; nothing is written."""
    weights = importlib.import_module("export.weights")
    download = importlib.import_module("export.download")
    nothing = WeightsFacts(check.weights, key="")
    try:
        if check.weights != IMAGENET:
            importlib.import_module("export.pickled").check_archive(Path(check.weights))
        facts = weights.facts(check.weights, Path(check.store))
    except Exception as exc:  # what is read is a stranger's
        if memory.is_lacking(exc):
            return Checked(nothing, error=f"--weights {check.weights}: {memory.lack()}")
        if not isinstance(exc, weights.WeightsError):
            raise
        return Checked(nothing, error=str(exc))
    known = dict.fromkeys(check.variants, facts)
    job = Job(check.store, (), Options(weights=check.weights), known)
    misfits = {}
    for variant in check.variants:
        try:
            Builder(job).module(variant)
        except download.DownloadError as exc:
            return Checked(nothing, error=str(exc))
        except weights.WeightsError as exc:
            misfits[variant] = str(exc)
    return Checked(facts, misfits)


def _refuses(node: Node, exc: Exception) -> bool:
    """Whether a network or a runtime's converter is against it; a full disk or memory is not."""
    if isinstance(exc, CannotShrink):
        return True
    converts = node.step in STEPS and STEPS[node.step].function.startswith(_CONVERTERS)
    return converts and not (isinstance(exc, OSError) or memory.is_lacking(exc))


def _one_sentence(exc: BaseException) -> str:
    """The exception's first line, with its type unless it is one of ours."""
    text = str(exc).strip().partition("\n")[0] or "no message"
    ours = type(exc).__module__.startswith("export.")
    return text if ours else f"{type(exc).__name__}: {text}"


class Builder:
    """Builds nodes; keeps the torch module of the last variant between them."""

    def __init__(self, job: Job, note: Callable[[str], object] = print) -> None:
        self.job = job
        self._note = note
        self.store = Store(Path(job.store))
        self._module: tuple[str, Any] | None = None

    def build(self, node: Node) -> Artifact:
        """Run one step in a scratch folder, describe what it made, settle it in the store."""
        started = time.perf_counter()
        _forget_peak()
        with self.store.locked(node.key):
            found = self.store.find(node.key)
            if found is not None:
                return found
            with self.store.writing(node.key) as folder:
                draft = self._make(node, folder)
                whole = replace(
                    draft,
                    size_bytes=folder_bytes(folder),
                    sha256=folder_sha256(folder),
                    build_s=time.perf_counter() - started,
                    build_peak_bytes=_peak_bytes(),
                )
                write_record(folder, whole)
        built = self.store.find(node.key)
        if built is None:
            raise OSError(f"{node.key} was written but can't be read back: is the disk full?")
        return built

    def _make(self, node: Node, folder: Path) -> Artifact:
        if node.step == REFERENCE:
            return self._make_reference(node, folder)
        if STEPS[node.step].source == "given":
            return self._adopt(node, folder)
        if STEPS[node.step].source == "module":
            return self._from_module(node, folder)
        return self._from_file(node, folder)

    def _make_reference(self, node: Node, folder: Path) -> Artifact:
        """Parity inputs and what the fp32 torch module answers to them."""
        inputs = self._batch(node.variant, PARITY_IMAGES, PARITY_SEED)
        if node.source is not None:
            return self._own_reference(node, node.source, inputs, folder)
        logits = _answers(self.module(node.variant), inputs)
        if self._facts(node.variant) == SEEDED and _spread(logits) < _LEAST_SPREAD:
            raise ValueError(
                f"seeded {node.variant} answers images nearly alike: parity would prove nothing"
            )
        np.save(folder / "inputs.npy", inputs)
        np.save(folder / "logits.npy", logits)
        return self._count_module(self._draft(node, "logits.npy"))

    def _own_reference(
        self, node: Node, source: Node, inputs: NDArray[np.float32], folder: Path
    ) -> Artifact:
        """What a given file itself answers, by an unoptimised graph."""
        artifact = self._found(source)
        logits = importlib.import_module("export.adopt").answers(artifact.path, inputs)
        np.save(folder / "inputs.npy", inputs)
        np.save(folder / "logits.npy", logits)
        return _counted_as(artifact, self._draft(node, "logits.npy"))

    def _adopt(self, node: Node, folder: Path) -> Artifact:
        """The copy of a given file that everything else is made from."""
        variant = VARIANTS[node.variant]
        assert variant.given is not None
        file = folder / _FILES[node.format]
        _resolve(STEPS[node.step].function)(variant.given, variant.input_size, file)
        importlib.import_module("export.to_onnx").stamp(file, self._metadata(node))
        batch = variant.given.batch
        draft = replace(
            self._draft(node, file.name), fixes={} if batch is None else {"batch": str(batch)}
        )
        draft = _with_structure(draft, file)
        anatomy = importlib.import_module("export.anatomy")
        try:
            return self._count_file(draft, file)
        except anatomy.CannotCount as exc:
            self._note(f"{node.variant}: {exc}; its tables go without what that would tell")
            stored = anatomy.stored_parameters(file)
            return replace(draft, parameters=stored, nonzero_parameters=stored)

    def _found(self, source: Node) -> Artifact:
        """The artifact of a node that was built before."""
        found = self.store.find(source.key)
        if found is None:
            raise FileNotFoundError(f"{source.key} is not in the store {self.store.root}")
        return found

    def _from_module(self, node: Node, folder: Path) -> Artifact:
        module = self.module(node.variant)
        size = VARIANTS[node.variant].input_size
        file = folder / _FILES[node.format]
        if node.step == "to-onnx":
            to_onnx = importlib.import_module("export.to_onnx")
            to_onnx.write_onnx(module, file, size, self._metadata(node))
            inputs, logits = self._reference(node)
            error = to_onnx.check_against(file, inputs[:_CHECKED], logits[:_CHECKED])
            draft = self._draft(node, file.name)
            draft = replace(draft, facts={**draft.facts, "error": error})
            return self._count_file(_with_structure(draft, file), file)
        draft = self._count_module(self._draft(node, file.name))
        to_pt2 = importlib.import_module("export.to_pt2")
        linear = node.step == "quantize-linear-to-pt2"
        names = to_pt2.linear_names(module) if linear else None
        draft = replace(draft, layers=_stored(draft.layers, _precision(node), names))
        if node.format != "pt2":
            calibration = self._calibration(node)
            _resolve(STEPS[node.step].function)(module, file, size, **calibration)
            return replace(draft, fixes=_fixes(node))
        if linear:
            module = to_pt2.quantize_linear(module)
            pruned = draft.parameters - draft.nonzero_parameters
            draft = replace(draft, rounded_to_zero=to_pt2.count_zeros(module) - pruned)
        to_pt2.write_pt2(module, file, size)
        return draft

    def _from_file(self, node: Node, folder: Path) -> Artifact:
        self._module = None
        gc.collect()
        if node.source is None:
            raise ValueError(f"step {node.step} needs the file of a step before it")
        source = self._found(node.source)
        target = folder / _FILES[node.format]
        draft = self._draft(node, target.name)
        fixes, found = self._transform(node, source, target)
        draft = replace(draft, fixes={**_batch_of(source), **fixes}, facts={**draft.facts, **found})
        if node.format != "onnx":
            draft = _counted_as(source, draft)
            return replace(draft, layers=_stored(draft.layers, _precision(node)))
        importlib.import_module("export.to_onnx").stamp(target, self._metadata(node))
        return self._count_derived(draft, source, target)

    def _transform(
        self, node: Node, source: Artifact, target: Path
    ) -> tuple[dict[str, str], dict[str, Any]]:
        """Call the step's function; returns what the new file fixes, and the step's own facts."""
        options = self.job.options
        function = _resolve(STEPS[node.step].function)
        if node.step == "optimize":
            function(source.path, target, options.graph_level)
            bound = options.graph_level in ("layout", "all")
            isa = {"instruction_set": str(node.provenance["host"])} if bound else {}
            return {"graph_level": options.graph_level, **isa}, {}
        if node.step == "ort-tools":
            function(source.path, target, options.ort_tools_level)
        elif "int8" in STEPS[node.step].options:
            int8 = int8_of(node.step, node.variant, options)
            images = self._batch(node.variant, int8.images, CALIBRATION_SEED)
            batches = (images[i : i + _BATCH] for i in range(0, len(images), _BATCH))
            function(source.path, target, batches, int8)
        else:
            found = function(source.path, target, **self._calibration(node)) or {}
            if "note" in found:
                self._note(f"{node.variant}/{node.recipe}: {found['note']}")
            return _fixes(node), found
        return _fixes(node), {}

    def _calibration(self, node: Node) -> dict[str, Any]:
        """What a calibrated converter takes besides its file: images, float32 (N, 3, H, W)."""
        if "calibration_images" not in STEPS[node.step].options:
            return {}
        count = self.job.options.calibration_images
        images = self._batch(node.variant, count, CALIBRATION_SEED)
        more = {"preprocess": self._preprocess(node.variant)} if node.format == "mnn" else {}
        return {"images": images, **more}

    def module(self, variant: str) -> torch.nn.Module:
        """The variant's torch module with its weights, operated on, in eval mode."""
        if self._module is None or self._module[0] != variant:
            self._module = None
            gc.collect()
            self._module = (variant, self._build_module(variant))
        module: torch.nn.Module = self._module[1]
        return module

    def _build_module(self, name: str) -> torch.nn.Module:
        import torch

        weights = importlib.import_module("export.weights")
        variant = VARIANTS[name]
        facts = self._facts(name)
        count = len(class_names(variant, facts))
        module: torch.nn.Module = _resolve(variant.builder)(count, variant.input_size)
        surgery = _resolve(variant.surgery) if variant.surgery else None
        if facts == SEEDED:
            photographs = crops(sample_photographs(), SEEDED_IMAGES, seed=0)
            images = self._preprocess(name).batch(photographs)
            module = importlib.import_module("export.seeded").seeded(
                module, torch.from_numpy(images)
            )
            module = surgery(module) if surgery else module
        else:
            options = self.job.options
            chosen = weights_of(name, options.weights, options.checkpoints)
            found = weights.resolve(chosen, variant.family, self.store.root)
            if chosen != IMAGENET and found.key != facts.key:
                # Under the key of the old ones the new ones would be taken for them for good.
                raise ValueError(f"{chosen} has changed since this build began: start it again")
            module = weights.apply(module, surgery, found)
        return module.eval()

    def _batch(self, variant: str, count: int, seed: int) -> NDArray[np.float32]:
        """``count`` preprocessed images, float32 (N, 3, H, W)."""
        preprocess = self._preprocess(variant)
        if not self.job.options.data:
            return preprocess.batch(crops(sample_photographs(), count, seed))
        folder = ImageFolder.open(Path(self.job.options.data))
        # More than are needed, so that a few bad files don't leave too few.
        chosen = spread(folder.part("train"), 2 * count, seed)
        loaded = folder.load(chosen, count)
        if loaded.skipped:
            tried = len(loaded.images) + len(loaded.skipped)
            left_out = f"{len(loaded.skipped)} of {tried} images left out as unreadable"
            self._note(f"{left_out}: {', '.join(loaded.skipped)}")
        return preprocess.batch(loaded.images)

    def _preprocess(self, variant: str) -> Preprocess:
        given = VARIANTS[variant].given
        if given:
            return Preprocess.from_json(given.preprocess)
        facts = self._facts(variant)
        size = VARIANTS[variant].input_size
        return Preprocess(size, facts.first, mean=facts.mean, std=facts.std)

    def _facts(self, variant: str) -> WeightsFacts:
        if VARIANTS[variant].given:
            return given_facts(VARIANTS[variant])
        return self.job.weights.get(variant, SEEDED)

    def _metadata(self, node: Node) -> dict[str, str]:
        """What every ONNX file says about itself, so that nobody inherits a black box."""
        facts = self._facts(node.variant)
        return {
            "deploybench.variant": node.variant,
            "deploybench.recipe": node.recipe,
            "deploybench.weights": facts.name,
            "deploybench.key": node.key,
            "deploybench.class_names": json.dumps(class_names(VARIANTS[node.variant], facts)),
            "deploybench.class_names_are_placeholders": json.dumps(facts.placeholder_names),
            "deploybench.preprocess": self._preprocess(node.variant).to_json(),
        }

    def _reference(self, node: Node) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        folder = self.store.folder(node.reference)
        return np.load(folder / "inputs.npy"), np.load(folder / "logits.npy")

    def _draft(self, node: Node, file: str) -> Artifact:
        """The artifact's record before anything was counted."""
        variant, facts = VARIANTS[node.variant], self._facts(node.variant)
        return Artifact(
            key=node.key,
            variant=node.variant,
            weights=facts.name,
            recipe=node.recipe,
            format=node.format,
            folder="",
            file=file,
            size_bytes=0,
            sha256="",
            parameters=0,
            nonzero_parameters=0,
            rounded_to_zero=0,
            macs=0,
            input_size=variant.input_size,
            class_names=class_names(variant, facts),
            placeholder_names=facts.placeholder_names,
            reference=node.reference,
            facts=self._facts_of_input(node.variant),
            provenance=node.provenance,
            preprocess=self._preprocess(node.variant).to_json(),
        )

    def _facts_of_input(self, variant: str) -> dict[str, Any]:
        """What an artifact has to say about what goes in and comes out, besides size and names."""
        learnt = self._facts(variant).learnt_size
        given = VARIANTS[variant].given
        shape = self._preprocess(variant).shape
        usual = (3, *VARIANTS[variant].input_size)
        return {
            **({"learnt_size": learnt} if learnt else {}),
            **({"image_shape": shape} if shape != usual else {}),
            **({"assumed_names": True} if given and given.assumed_names else {}),
        }

    def _count_module(self, draft: Artifact) -> Artifact:
        to_pt2 = importlib.import_module("export.to_pt2")
        size = VARIANTS[draft.variant].input_size
        module = self.module(draft.variant)
        parameters, zeros, macs = to_pt2.count_module(module, size)
        return replace(
            draft,
            parameters=parameters,
            nonzero_parameters=parameters - zeros,
            macs=macs,
            layers=to_pt2.count_layers(module, size),
        )

    def _count_file(self, draft: Artifact, file: Path) -> Artifact:
        counted = importlib.import_module("export.anatomy").count(file)
        return replace(
            draft,
            parameters=counted.parameters,
            nonzero_parameters=counted.parameters - counted.zeros,
            macs=counted.macs,
            layers=counted.layers,
        )

    def _count_derived(self, draft: Artifact, source: Artifact, file: Path) -> Artifact:
        """Zeros of the source were pruned; further ones were made by rounding."""
        anatomy = importlib.import_module("export.anatomy")
        draft = _with_structure(draft, file)
        try:
            counted = self._count_file(draft, file)
        except anatomy.CannotCount:
            # Operators of a runtime's own layout can't be counted.
            return _counted_as(source, draft)
        zeros = counted.parameters - counted.nonzero_parameters
        pruned = min(zeros, source.parameters - source.nonzero_parameters)
        return replace(
            counted,
            nonzero_parameters=counted.parameters - pruned,
            rounded_to_zero=zeros - pruned,
        )


def _fixes(node: Node) -> dict[str, str]:
    """What the file of a step cannot do without."""
    step = STEPS[node.step]
    isa = {"instruction_set": str(node.provenance["host"])} if step.host_bound else {}
    return {**step.fixes, **isa}


def _batch_of(source: Artifact) -> dict[str, str]:
    """The batch that a file fixes, which what is made from it fixes as well."""
    return {"batch": source.fixes["batch"]} if "batch" in source.fixes else {}


def _with_structure(draft: Artifact, file: Path) -> Artifact:
    """With the names by which a runtime's own graph is read (``export.anatomy.Structure``)."""
    anatomy = importlib.import_module("export.anatomy")
    return replace(draft, facts={**draft.facts, **asdict(anatomy.structure(file))})


_STORED = {"fp32": (1, 1), "fp16": (2, 1), "bf16": (2, 2), "int8": (4, 4)}
"""By how much the weights and the activations of an fp32 network shrink."""


def _precision(node: Node) -> str:
    """What the weights of a converted file are stored in."""
    if node.format == "aoti-bf16":
        return "bf16"
    return RECIPES[node.recipe].precision if node.recipe in RECIPES else "fp32"


def _stored(
    layers: tuple[LayerWork, ...], precision: str, names: Collection[str] | None = None
) -> tuple[LayerWork, ...]:
    """The layers of an fp32 network in a file that isn't taken apart here.

    Only those in ``names``, where that is given. Weights in fp16 are computed with in fp32.
    """
    weights, activations = _STORED[precision]
    return tuple(
        replace(
            layer,
            weight_bytes=layer.weight_bytes // weights,
            activation_bytes=layer.activation_bytes // activations,
            precision="fp32" if precision == "fp16" else precision,
        )
        if names is None or layer.name in names
        else layer
        for layer in layers
    )


def _counted_as(source: Artifact, draft: Artifact) -> Artifact:
    """It is the source's network, in a format that isn't taken apart here."""
    return replace(
        draft,
        parameters=source.parameters,
        nonzero_parameters=source.nonzero_parameters,
        macs=source.macs,
        layers=source.layers,
    )


def _resolve(path: str) -> Any:
    """The function behind a dotted path."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def _answers(module: torch.nn.Module, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits of the torch module, one image at a time to bound its activations."""
    import torch

    # A quarter faster on the large Xceptions than with channels first, and no slower elsewhere.
    images = torch.from_numpy(inputs).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        return torch.cat([module(images[i : i + 1]) for i in range(len(images))]).numpy()


def _spread(logits: NDArray[np.float32]) -> float:
    """How far every image's outputs are from some other's, over the largest output."""
    least = min(np.abs(logits - row).max() for row in logits)
    return float(least / np.abs(logits).max())


def _forget_peak() -> None:
    """Let the kernel begin the peak resident set anew: the next step has one of its own."""
    with contextlib.suppress(OSError):  # not allowed everywhere; the peak is then that of all steps
        Path("/proc/self/clear_refs").write_text("5")


def _peak_bytes() -> int:
    """This process's peak resident set in this step (VmHWM), 0 where the system can't tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(x.split()[1]) * 1024 for x in lines if x.startswith("VmHWM")), 0)


if __name__ == "__main__":
    main()
