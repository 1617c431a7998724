"""module -> exported torch program (.pt2), in fp32 or with INT8 fully connected layers.

The files need nothing but torch to be loaded, hold no pickled weights, and no
path of the machine that wrote them.
"""

from __future__ import annotations

import copy
import functools
import logging
import operator
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils.flop_counter import FlopCounterMode

from export.artifact import LayerWork

LAYERS = (nn.Conv2d, nn.Linear)
"""What has work that is worth counting."""
_FLOAT_BYTES = 4
_EXAMPLE_BATCH = 2  # an example of 1 would be taken for a constant
_SEED = 0
_CHATTY_LOGGERS = ("torchao", "torch.utils._pytree", "torch.export")
_TRACES = ("custom", "from_node", "nn_module_stack", "source_fn_stack", "stack_trace", "torch_fn")
"""Entries of a node's ``meta`` that say where in whose source it came from."""


def write_pt2(module: nn.Module, file: Path, input_size: tuple[int, int]) -> None:
    """Write ``module`` as an exported program; ``torch.export.load(file).module()`` is its inverse.

    It takes float32 ``(batch, 3, height, width)`` with ``input_size`` = (height,
    width) fixed and the batch free. A module from ``quantize_linear`` is written
    in torch's own operators, what depends on weights alone computed beforehand.
    The module must be in eval mode (``ValueError``). The file's name enters the
    archive; apart from that the same module gives the same bytes.
    """
    if module.training:
        raise ValueError("a module in training mode can't be exported: call .eval() first")
    with _quiet():
        if _is_quantized(module):
            module = _plain_operators(module, input_size)
        program = _exported(module, input_size)
        for node in program.graph.nodes:
            for key in _TRACES:
                node.meta.pop(key, None)
        program.example_inputs = None
        torch.export.save(program, file)


def quantize_linear(module: nn.Module) -> nn.Module:
    """A copy of ``module`` with INT8 Linear layers; other layers share their tensors with it.

    torchao's INT8 dynamic-activation, INT8 weight configuration: weights
    symmetric per output, inputs symmetric per row as they come. ``ValueError``
    if there is no Linear layer.
    """
    with _quiet():
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

        quantized = _shared_copy(module)
        # Its inductor settings are global, and we don't compile.
        config = Int8DynamicActivationInt8WeightConfig(set_inductor_config=False)
        quantize_(quantized, config)
    if not _is_quantized(quantized):
        raise ValueError("the network has no Linear layer to quantise")
    return quantized


def count_module(module: nn.Module, input_size: tuple[int, int]) -> tuple[int, int, int]:
    """Parameters, zeros among them, and multiply-accumulates for one image.

    ``input_size`` is (height, width) in pixels. Nothing is computed: the
    forward pass runs on tensors without values.
    """
    with FlopCounterMode(display=False) as counter:
        _without_values(module, input_size)
    # A multiply-accumulate counts as two floating-point operations there.
    macs = counter.get_total_flops() // 2
    return sum(p.numel() for p in module.parameters()), count_zeros(module), macs


def count_layers(module: nn.Module, input_size: tuple[int, int]) -> tuple[LayerWork, ...]:
    """The work of each convolution and fully connected layer for one image, in fp32.

    In the order in which they are computed, named as in the module. Products that
    a module's own code computes (a pooling, say) are no layers.
    """
    found: list[LayerWork] = []

    def note(name: str, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer, LAYERS)
        bias = 0 if layer.bias is None else layer.bias.numel()
        weights = layer.weight.numel() + bias
        values = inputs[0].numel() + output.numel()
        macs = output.numel() * layer.weight[0].numel()
        found.append(LayerWork(name, macs, _FLOAT_BYTES * weights, _FLOAT_BYTES * values))

    hooks = [
        layer.register_forward_hook(functools.partial(note, name))
        for name, layer in module.named_modules()
        if isinstance(layer, LAYERS)
    ]
    try:
        _without_values(module, input_size)
    finally:
        for hook in hooks:
            hook.remove()
    return tuple(found)


def linear_names(module: nn.Module) -> tuple[str, ...]:
    """The layers that ``quantize_linear`` makes INT8, by their names."""
    return tuple(name for name, x in module.named_modules() if isinstance(x, nn.Linear))


def _without_values(module: nn.Module, input_size: tuple[int, int]) -> None:
    """A forward pass of one image on tensors that have shapes and no values."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    shapes = {
        name: torch.empty(t.shape, dtype=t.dtype, device="meta") for name, t in tensors.items()
    }
    with torch.no_grad():
        image = torch.empty(1, 3, *input_size, device="meta")
        torch.func.functional_call(module, shapes, (image,))


def count_zeros(module: nn.Module) -> int:
    """Zeros among the weights and biases, INT8 ones included; scales are not counted."""
    return sum(_zeros(parameter) for parameter in module.parameters())


def _zeros(parameter: Tensor) -> int:
    """Elements that are 0; torchao's tensors keep theirs, with zero point 0, in ``qdata``."""
    values: Tensor = getattr(parameter, "qdata", parameter)
    return values.numel() - int(torch.count_nonzero(values))


def _is_quantized(module: nn.Module) -> bool:
    """Whether torchao has replaced a weight by a tensor class of its own."""
    return any(type(parameter) is not nn.Parameter for parameter in module.parameters())


def _shared_copy(module: nn.Module) -> nn.Module:
    """A copy whose layers can be changed, on the same tensors: weights may be gigabytes."""
    tensors = (*module.parameters(), *module.buffers())
    return copy.deepcopy(module, {id(tensor): tensor for tensor in tensors})


def _example(input_size: tuple[int, int]) -> Tensor:
    generator = torch.Generator().manual_seed(_SEED)
    return torch.randn(_EXAMPLE_BATCH, 3, *input_size, generator=generator)


def _exported(module: nn.Module, input_size: tuple[int, int]) -> ExportedProgram:
    batch = torch.export.Dim("batch")
    return torch.export.export(module, (_example(input_size),), dynamic_shapes=({0: batch},))


def _plain_operators(module: nn.Module, input_size: tuple[int, int]) -> nn.Module:
    """The same network in torch's own operators on plain tensors.

    A file with torchao's tensors could only be loaded by unpickling them, one
    with its operators only where torchao is installed.
    """
    from torchao.utils import unwrap_tensor_subclass

    program = _exported(unwrap_tensor_subclass(_shared_copy(module)), input_size)
    foreign = {node.target for node in program.graph.nodes if _is_torchao(node)}
    known = torch.export.default_decompositions()
    program = program.run_decompositions({target: known[target] for target in foreign})
    graph_module = program.module(check_guards=False)
    assert isinstance(graph_module, torch.fx.GraphModule)
    _fold_constants(graph_module)
    return graph_module


def _is_torchao(node: torch.fx.Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target.namespace == "torchao"


@torch.no_grad()
def _fold_constants(module: torch.fx.GraphModule) -> None:
    """Compute what depends on weights alone once, here, and not for every image.

    On VGG-19 the sums over the weights, which correct for the zero point of the
    inputs, would take 97 % of the time of the fully connected layers. Views are
    left alone: a folded one would store its weights a second time.
    """
    constants: dict[torch.fx.Node, Tensor] = {}
    for node in list(module.graph.nodes):
        if node.op == "get_attr":
            constants[node] = operator.attrgetter(node.target)(module)
        elif node.op == "call_function" and _all_known(node, constants):
            constants[node] = _computed(node, constants)
    folded = [node for node in constants if _is_worth_folding(node, constants)]
    for i, node in enumerate(folded):
        module.register_buffer(f"folded_{i}", constants[node].clone())
        with module.graph.inserting_before(node):
            node.replace_all_uses_with(module.graph.get_attr(f"folded_{i}"))
    module.graph.eliminate_dead_code()
    module.recompile()


def _all_known(node: torch.fx.Node, constants: dict[torch.fx.Node, Tensor]) -> bool:
    inputs = node.all_input_nodes
    return bool(inputs) and all(source in constants for source in inputs)


def _computed(node: torch.fx.Node, constants: dict[torch.fx.Node, Tensor]) -> Tensor:
    args, kwargs = torch.fx.map_arg((node.args, node.kwargs), constants.__getitem__)
    assert callable(node.target)
    value: Tensor = node.target(*args, **kwargs)
    return value


def _is_worth_folding(node: torch.fx.Node, constants: dict[torch.fx.Node, Tensor]) -> bool:
    """Whether it is computed, neither stored nor a view, for something that is not constant."""
    used = any(user not in constants for user in node.users)
    return used and node.op != "get_attr" and not constants[node]._is_view()


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence torchao about its GPU libraries, and torch about torch."""
    levels = {name: logging.getLogger(name).level for name in _CHATTY_LOGGERS}
    for name in levels:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
