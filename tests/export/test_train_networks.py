from __future__ import annotations

import copy
import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")
from safetensors.torch import save_file  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from export.features import FeatureCourse, Features, head_of, stored, vectors  # noqa: E402
from export.models import revisited, vgg, xception  # noqa: E402
from export.norms import folded, recalibrate, with_norms  # noqa: E402
from export.parents import check_classes, read_parent, take  # noqa: E402
from export.surgery import prune_vgg19  # noqa: E402
from export.train_plan import Plan, TrainingError, TrainRecipe  # noqa: E402

BF16_MEAN = 0.03
"""Of a standard deviation; what bf16 may do to outputs as well (``bench.accuracy.LIMITS``)."""
BF16_VARIANCE = 0.04
"""Of the variance itself."""


@pytest.fixture(autouse=True)
def one_thread():
    """Two threads wait for one another where others compute too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def images(count=2, side=32):
    """Always the same noise."""
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def unsettled(module: nn.Module) -> nn.Module:
    """With BatchNorms that do something."""
    torch.manual_seed(1)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, 0, 0.1)
            for statistics in layer.buffers():
                if statistics.ndim:
                    nn.init.uniform_(statistics, 0.5, 1.5)
    return module


def test_a_folded_vgg_is_a_plain_one():
    """The same modules under the same keys, and the same answers as with BatchNorm."""
    plain = vgg.vgg19_gap(5, (32, 32))
    trained = unsettled(with_norms(vgg.vgg19_gap(5, (32, 32)))).eval()
    result = folded(trained)
    assert list(result.state_dict()) == list(plain.state_dict())
    assert str(result) == str(plain.eval())
    with torch.no_grad():
        torch.testing.assert_close(result(images()), trained(images()), rtol=1e-3, atol=1e-4)


def test_folding_leaves_the_trained_network_alone():
    """It goes on learning with its BatchNorms; other networks come back as they are."""
    trained = with_norms(vgg.vgg19_gap(5, (32, 32)))
    folded(trained)
    assert sum(isinstance(x, nn.BatchNorm2d) for x in trained.modules()) == 16
    other = revisited.base()
    assert folded(other) is other


def test_recalibration_takes_the_statistics_of_its_batches():
    """The first norm's mean is that of what it is given; no weight changes."""
    module = unsettled(revisited.v6())
    before = {key: value.clone() for key, value in module.named_parameters()}
    batches = [images(4), images(4) + 1]
    assert recalibrate(module, batches) == sum(
        isinstance(layer, nn.BatchNorm2d) for layer in module.modules()
    )
    convolution, norm = module.get_submodule("blocks.0.body.0").children()
    with torch.no_grad():
        expected = torch.stack([convolution(x).mean((0, 2, 3)) for x in batches]).mean(0)
    torch.testing.assert_close(norm.running_mean, expected)
    assert norm.momentum == 0.1
    assert not module.training
    assert all(torch.equal(value, before[key]) for key, value in module.named_parameters())
    assert recalibrate(vgg.vgg19_gap(2, (32, 32)), []) == 0


@pytest.mark.parametrize("builder", [revisited.v5, revisited.v6, revisited.alpha])
def test_recalibration_in_bf16_agrees_with_fp32(builder):
    """Every channel's mean and variance, within the tolerance that is stated; kept in fp32."""
    exact = unsettled(builder())
    rounded = copy.deepcopy(exact)
    batches = [images(16), images(16) + 1]
    recalibrate(exact, batches)
    with torch.autocast("cpu", torch.bfloat16):
        recalibrate(rounded, batches)
    pairs = list(zip(statistics_of(exact), statistics_of(rounded), strict=True))
    for (mean, variance), (other_mean, other_variance) in pairs:
        assert other_mean.dtype == other_variance.dtype == torch.float32
        assert float(((other_mean - mean).abs() / variance.sqrt()).max()) < BF16_MEAN
        assert float((other_variance / variance - 1).abs().max()) < BF16_VARIANCE
    assert any(not torch.equal(ours[0], theirs[0]) for ours, theirs in pairs)


def statistics_of(module: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Means and variances of every BatchNorm."""
    found = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    return [(layer.get_buffer("running_mean"), layer.get_buffer("running_var")) for layer in found]


BUILDERS = [
    (revisited.base, 32),
    (revisited.alpha, 32),
    (vgg.vgg19_gap, 32),
    (xception.xception, 32),
    (xception.xception_gap, 32),
    (xception.xception_flatten, 32),
]


@pytest.mark.parametrize(("builder", "side"), BUILDERS, ids=lambda x: getattr(x, "__name__", None))
def test_the_head_on_its_vectors_is_the_network(builder, side):
    """Backbone and head, one after the other, answer as the whole."""
    module = builder(3, (side, side)).eval()
    batch = images(2, side)
    with torch.no_grad():
        torch.testing.assert_close(head_of(module)(vectors(module, batch)), module(batch))


def test_features_are_stored_as_halves(tmp_path):
    """A row an image, in order, within fp16's precision."""
    module = revisited.v6().eval()
    batches = [images(2), images(2) + 1]
    labels = torch.tensor([0, 1, 0, 1])
    found = stored(batches, module, 4, labels, tmp_path / "features.npy")
    assert found.rows.dtype == np.float16
    expected = torch.cat([vectors(module, batch) for batch in batches])
    np.testing.assert_allclose(found.rows, expected, rtol=1e-3, atol=1e-3)


def test_features_too_large_for_halves_are_refused(tmp_path):
    """Rather than stored as infinity."""
    module = revisited.v6().eval()
    with pytest.raises(TrainingError, match="65504"):
        stored([images() * 1e9], module, 2, torch.zeros(2), tmp_path / "features.npy")


def test_each_epoch_of_a_head_has_its_view(tmp_path):
    """Rows of view 2 follow those of view 1; epoch 3 is view 1 again."""
    recipe = TrainRecipe("a test", epochs=3, batch_size=2)
    plan = Plan("vgg19", recipe, (8, 8), ("a", "b"), ("train", "val"), views=2)
    rows = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], dtype=np.float16)
    train = Features(rows, torch.tensor([0, 0]))
    course = FeatureCourse(plan, nn.Identity(), train, train)
    right = []
    for epoch in (1, 2, 3):
        course.begin(epoch, torch.tensor([0, 1]))
        right.append(int(course.lesson(torch.tensor([0, 1]))[1]))
    assert right == [2, 0, 2]
    assert course.judge().accuracy == 1


# --- where a training starts ---


def checkpoint(folder, module, name="vgg19-gap_leaves.safetensors", **metadata):
    """A file of the module, read back."""
    path = folder / name
    state = {key: value.contiguous() for key, value in module.state_dict().items()}
    save_file(state, path, metadata)
    return read_parent(path, "--from")


@pytest.fixture(scope="module")
def gap(tmp_path_factory):
    """A VGG-19 with global average pooling and five classes."""
    classes = json.dumps(["a", "b", "c", "d", "e"])
    module = vgg.vgg19_gap(5, (32, 32))
    return checkpoint(tmp_path_factory.mktemp("gap"), module, classes=classes, input="32x48")


def test_backbone_and_head_are_taken(gap):
    """A network of the same kind takes everything, whatever its input size."""
    module, new = take(vgg.vgg19_gap(5, (64, 64)), None, gap, new_head=False)
    assert new == ()
    state = module.state_dict()
    assert all(torch.equal(state[key], value) for key, value in gap.weights.state.items())


def test_another_head_is_left_new_and_named(gap):
    """The backbone is taken; keys of the head that has to be learnt come back."""

    class Shallow(vgg.VGG):
        def __init__(self):
            nn.Module.__init__(self)
            self.features = vgg._features()
            self.classifier = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 5))

    module, new = take(Shallow(), None, gap, new_head=False)
    assert new == tuple(f"classifier.{key}" for key in ("0.weight", "0.bias", "2.weight", "2.bias"))
    first = "features.0.weight"
    assert torch.equal(module.state_dict()[first], gap.weights.state[first])


def test_a_new_head_can_be_asked_for(gap):
    """Then even one that fits is not taken."""
    _, new = take(vgg.vgg19_gap(5, (32, 32)), None, gap, new_head=True)
    assert new == ("classifier.weight", "classifier.bias")


def test_an_operated_network_starts_from_either_side(gap, tmp_path):
    """From its parent it is cut out after loading; from its own kind it is loaded after cutting."""
    pruned, _ = take(vgg.vgg19_gap(5, (32, 32)), prune_vgg19, gap, new_head=False)
    assert pruned.get_submodule("features.34").out_channels == 460
    parent = checkpoint(tmp_path, pruned)
    again, new = take(vgg.vgg19_gap(5, (32, 32)), prune_vgg19, parent, new_head=False)
    assert new == ()
    state = again.state_dict()
    assert all(torch.equal(state[key], value) for key, value in parent.weights.state.items())


def test_another_network_is_refused(gap, tmp_path):
    """The first key or shape that doesn't fit is named."""
    with pytest.raises(TrainingError, match=r"leaves\.safetensors.*conv1\.weight.*more"):
        take(xception.xception(5, (32, 32)), None, gap, new_head=False)
    narrow = checkpoint(tmp_path, prune_vgg19(vgg.vgg19_gap(5, (32, 32))))
    with pytest.raises(TrainingError, match=r"features\.16\.weight has the shape"):
        take(vgg.vgg19_gap(5, (32, 32)), None, narrow, new_head=False)


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (("a", "b", "c", "d"), ["has 5 classes", "has 4", "a, b, c, d, e"]),
        (("a", "b", "c", "d", "z"), ["only the data has z", "only the checkpoint has e"]),
        (("b", "a", "c", "d", "e"), ["another order", "a, b, c, d, e", "b, a, c, d, e"]),
    ],
)
def test_other_classes_are_refused(gap, tmp_path, classes, words):
    """Count, names and order must agree; both sides are listed, and the remedy."""
    with pytest.raises(TrainingError) as caught:
        check_classes(gap, classes, tmp_path, "give other data")
    text = str(caught.value)
    assert [word for word in (*words, gap.path.name, "give other data") if word not in text] == []


def test_a_parent_tells_what_it_is(gap, tmp_path):
    """From its metadata, or else from its file's name."""
    assert gap.variant == "vgg19-gap"
    assert gap.input_size == (32, 48)
    assert gap.first is None
    assert gap.steps == []
    assert gap.label.startswith("vgg19-gap_leaves.safetensors ")
    known = {"variant": "vgg19", "first": "256", "trained": "somehow", "input": "RGB, square"}
    told = checkpoint(tmp_path, vgg.vgg19_gap(5, (32, 32)), **known)
    assert (told.variant, told.first, told.steps) == ("vgg19", 256, ["trained: somehow"])
    assert told.input_size is None
