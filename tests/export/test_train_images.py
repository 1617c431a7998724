from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

torch = pytest.importorskip("torch", reason="training needs torch")
from torch import Tensor, nn  # noqa: E402

from export import augment  # noqa: E402
from export.courses import ImageCourse, Normaliser, distilled_loss, judged  # noqa: E402
from export.distil import Teacher  # noqa: E402
from export.images import ImageFolder, ImagesError, Preprocess  # noqa: E402
from export.pixels import Pixels, decoded, store_size  # noqa: E402
from export.train_plan import Augmentation, Plan, Stage, TrainRecipe  # noqa: E402

ALL = torch.tensor([True, True])
NONE = torch.tensor([False, False])


@pytest.fixture(autouse=True)
def one_thread():
    """Two threads wait for one another where others compute too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def stock(count=6, height=8, width=8) -> Pixels:
    """Noise in two classes."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (count, 3, height, width), generator=generator)
    return Pixels(images.to(torch.uint8), torch.arange(count) % 2)


def varied(how: Augmentation, size=(8, 8), seed=0, varies=ALL, pixels=None):
    """The stock as an epoch would see it."""
    pixels = pixels or stock()
    numbers = augment.draw(len(pixels), seed)
    return augment.pictures(pixels, torch.arange(len(pixels)), numbers, how, size, varies)


def plain(pixels=None):
    """The stock in 0..1."""
    return (pixels or stock()).images.float() / 255


@pytest.mark.parametrize(
    ("how", "dimension"),
    [(Augmentation(flip_share=1.0), 3), (Augmentation(upside_down_share=1.0), 2)],
)
def test_flips_are_flips(how, dimension):
    """Left and right, or top and bottom, change places; nothing else happens."""
    torch.testing.assert_close(varied(how), plain().flip(dimension))


def test_a_quarter_turn_is_one():
    """Angles are angles: 90 degrees are those of torch.rot90."""
    how = Augmentation(rotate_degrees=90, rotate_share=1.0)
    numbers = augment.draw(6, 0)
    numbers[:, 3] = 1.0
    turned = augment.varied(plain(), numbers, how, (8, 8))
    close = [
        torch.allclose(turned, torch.rot90(plain(), times, (2, 3)), atol=1e-4) for times in (1, 3)
    ]
    assert sorted(close) == [False, True]


def test_nothing_is_the_default():
    """Without an augmentation, or where its shares miss, images are bit by bit what they were."""
    assert torch.equal(varied(Augmentation(), varies=NONE), plain())
    torch.testing.assert_close(varied(Augmentation(jitter=0.5, rotate_degrees=20)), plain())


def test_only_the_named_classes_are_varied():
    """The others' pixels are untouched."""
    how = Augmentation(classes=("b",), flip_share=1.0, jitter=0.5, jitter_share=1.0)
    varies = augment.chosen(how, ("a", "b"))
    images = varied(how, varies=varies)
    assert torch.equal(images[::2], plain()[::2])
    assert not torch.equal(images[1::2], plain()[1::2])


def test_chosen_classes():
    """All by default, the named ones, none where nothing would happen."""
    assert augment.chosen(Augmentation(flip_share=1), ("a", "b")).tolist() == [True, True]
    named = Augmentation(classes=("b", "z"), flip_share=1)
    assert augment.chosen(named, ("a", "b")).tolist() == [False, True]
    assert augment.chosen(Augmentation(), ("a", "b")).tolist() == [False, False]


WILD = Augmentation(
    flip_share=0.5, rotate_degrees=30, rotate_share=0.5, jitter=0.5, jitter_share=0.5, crop=0.3
)


def test_an_image_varies_by_its_place_not_by_its_batch():
    """In whatever company it comes, it looks the same in an epoch."""
    pixels, numbers = stock(), augment.draw(6, 0)
    together = varied(WILD)
    for place in range(6):
        index = torch.tensor([place])
        alone = augment.pictures(pixels, index, numbers, WILD, (8, 8), ALL)
        torch.testing.assert_close(alone[0], together[place])


def test_places_are_exact_in_bf16_too():
    """Autocast around it changes nothing."""
    with torch.autocast("cpu", torch.bfloat16):
        images = varied(WILD)
    assert torch.equal(images, varied(WILD))


def test_another_epoch_varies_otherwise():
    """Another seed, other images; the same seed, the same."""
    assert torch.equal(varied(WILD, seed=3), varied(WILD, seed=3))
    assert not torch.equal(varied(WILD, seed=3), varied(WILD, seed=4))


@given(st.integers(0, 1000))
def test_varied_images_stay_in_range(seed):
    """Whatever is drawn, values stay in 0..1 and the size is what was asked."""
    images = varied(WILD, size=(5, 7), seed=seed)
    assert images.shape == (6, 3, 5, 7)
    assert float(images.min()) >= 0
    assert float(images.max()) <= 1


@given(st.integers(0, 1000), st.floats(0.1, 1))
def test_crops_stay_inside(seed, crop):
    """Without turning, the corners of what is sampled are within the image."""
    how = Augmentation(flip_share=0.5, crop=crop)
    maps = augment._maps(augment.draw(20, seed), how, 1.0)
    reach = maps[:, :, :2].abs().sum(2) + maps[:, :, 2].abs()
    assert float(reach.max()) <= 1 + 1e-6


def test_images_are_decoded_as_the_build_decodes_them(tmp_path):
    """The very bytes of ``Preprocess.pixels``."""
    noise = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(12):
            pixels = noise.integers(0, 256, (20, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    (tmp_path / "a" / "0.png").write_bytes(b"no image")
    folder = ImageFolder.open(tmp_path)
    preprocess = Preprocess((8, 10), first=16)
    heard: list[int] = []
    found = decoded(folder, folder.entries(), preprocess, heard.append)
    assert found.skipped == ("a/0.png",)
    assert len(heard) == 24
    entries = folder.entries()[1:]
    expected = np.stack([preprocess.pixels(folder.read(entry)) for entry in entries])
    assert np.array_equal(found.images.permute(0, 2, 3, 1).numpy(), expected)
    assert found.labels.tolist() == [entry.label for entry in entries]
    with pytest.raises(ImagesError, match=r"1 of 3 images.*a/0\.png"):
        decoded(folder, folder.entries()[:3], preprocess)


def test_crops_need_room():
    """Kept at ``first``, or somewhat larger than used; exactly so where nothing is cropped."""
    assert store_size((224, 224), 256, crops=True) == (256, 256)
    assert store_size((100, 200), None, crops=True) == (115, 230)
    assert store_size((32, 32), None, crops=False) == (32, 32)


def test_much_larger_images_are_averaged_first():
    """A shrinking sampler would skip pixels; where there is little to shrink nothing is copied."""
    large = stock(height=64, width=64)
    assert large.roomy((16, 16)).images.shape == (6, 3, 19, 19)
    assert large.roomy((56, 56)) is large


def test_normalised_as_the_build_does():
    """(p - mean) / std of RGB in 0..1, as ``Preprocess`` has it."""
    pixels = stock()
    preprocess = Preprocess((8, 8))
    ours = Normaliser(preprocess.mean, preprocess.std, torch.device("cpu"))(plain(pixels))
    theirs = preprocess.normalised(pixels.images.permute(0, 2, 3, 1).numpy())
    torch.testing.assert_close(ours, torch.from_numpy(theirs))


class Bright(nn.Module):
    """Says 1 to bright images."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []
        self.layer = nn.Linear(1, 1)

    def forward(self, images):
        self.seen.append(tuple(images.shape))
        mean = images.mean((1, 2, 3))
        return torch.stack([-mean, mean], 1) + 0 * self.layer.weight.sum()


def test_judging_counts_right_answers():
    """Accuracy is the share of right answers over all images, loss their mean."""
    images = torch.stack([torch.full((3, 4, 4), value) for value in (0, 255, 255)])
    pixels = Pixels(images.to(torch.uint8), torch.tensor([0, 1, 0]))
    score = judged(Bright(), pixels, Normaliser((0.5,) * 3, (0.5,) * 3, torch.device("cpu")))
    assert score.accuracy == pytest.approx(2 / 3)
    right, wrong = math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))
    assert score.loss == pytest.approx((2 * right + wrong) / 3)


RECIPE = TrainRecipe("a test", epochs=4, batch_size=2, stages=(Stage(1, 0.5),))
PLAN = Plan("revisited-v6", RECIPE, (8, 8), ("a", "b"), ("train", "val"))


def test_first_epochs_are_smaller():
    """In a stage the images are learnt and judged at its size, then at the network's."""
    module, judged_at = Bright(), []

    def val(size):
        judged_at.append(size)
        return stock(2, *size)

    course = ImageCourse(PLAN, module, stock(), val)
    for epoch in (1, 2):
        course.begin(epoch, order := torch.tensor([0, 1]))
        course.lesson(order)
        course.judge()
    assert judged_at == [(4, 4), (8, 8)]
    assert [shape[2:] for shape in module.seen] == [(4, 4), (4, 4), (8, 8), (8, 8)]


class Keeping(nn.Module):
    """Keeps the images that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[Tensor] = []
        self.layer = nn.Linear(1, 2)

    def forward(self, images):
        self.given.append(images)
        return self.layer(images.mean((1, 2, 3))[:, None])


@pytest.mark.parametrize("together", [1, 4 * 64, 1 << 21])
def test_a_batch_has_the_images_of_its_places(monkeypatch, together):
    """Varied alone, two batches at a time or all at once, each batch gets its own images."""
    monkeypatch.setattr("export.courses._AT_ONCE_PIXELS", together)
    recipe = dataclasses.replace(RECIPE, stages=(), augmentation=Augmentation(flip_share=1.0))
    module, order = Keeping(), torch.tensor([5, 1, 0, 4, 2, 3])
    course = ImageCourse(dataclasses.replace(PLAN, recipe=recipe), module, stock(), stock)
    course.begin(1, order)
    for index in torch.split(order, 2):
        course.lesson(index)
    normalise = Normaliser(PLAN.mean, PLAN.std, torch.device("cpu"))
    torch.testing.assert_close(torch.cat(module.given), normalise(plain().flip(3)[order]))


def test_a_distilled_loss_is_hintons():
    """alpha T^2 KL(teacher, student) + (1 - alpha) of the labels' loss."""
    logits, taught = torch.tensor([[1.0, 2.0], [0.0, 1.0]]), torch.tensor([[3.0, 1.0], [1.0, 1.0]])
    hard = torch.tensor(0.7)
    p, q = (taught / 2).softmax(1), (logits / 2).softmax(1)
    by_hand = 0.9 * 4 * (p * (p / q).log()).sum(1).mean() + 0.1 * 0.7
    torch.testing.assert_close(distilled_loss(logits, taught, hard, 2.0, 0.9), by_hand)
    assert distilled_loss(logits, taught, hard, 2.0, 0.0) == hard
    torch.testing.assert_close(
        distilled_loss(logits, logits, hard, 4.0, 1.0), torch.tensor(0.0), atol=1e-6, rtol=0
    )


def test_a_teacher_looks_at_the_same_crops_at_its_own_size():
    """At twice the student's size, in the data's order, and once a view."""
    recipe = dataclasses.replace(RECIPE, stages=(), augmentation=Augmentation(flip_share=1.0))
    plan = dataclasses.replace(PLAN, recipe=recipe, views=2)
    module, large = Bright(), stock(height=16, width=16)
    normalise = Normaliser((0.5,) * 3, (0.5,) * 3, torch.device("cpu"))
    teacher = Teacher(plan, module, large, (16, 16), normalise)
    course = ImageCourse(
        plan, Bright(), large.resized((8, 8)), lambda size: stock(), teacher=teacher
    )
    for epoch in (1, 2, 3, 4):
        course.begin(epoch, order := torch.tensor([5, 2]))
        course.lesson(order)
    assert module.seen == [(6, 3, 16, 16)] * 2
    flipped = normalise(plain(large).flip(3))
    torch.testing.assert_close(teacher(1, augment.draw(6, 0)), module(flipped))


def test_what_the_teacher_says_counts():
    """With alpha 1 the labels don't matter."""
    recipe = dataclasses.replace(RECIPE, stages=(), batch_size=6)
    plan = dataclasses.replace(PLAN, recipe=recipe, alpha=1.0)

    def loss(label: int) -> float:
        pixels = dataclasses.replace(stock(), labels=torch.full((6,), label))
        course = ImageCourse(
            plan, Bright(), pixels, lambda size: pixels, teacher=lambda view, _: torch.zeros(6, 2)
        )
        course.begin(1, order := torch.arange(6))
        return course.lesson(order)[0].item()

    assert loss(0) == loss(1)
