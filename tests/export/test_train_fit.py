from __future__ import annotations

import contextlib
import dataclasses
import math

import pytest

torch = pytest.importorskip("torch", reason="training needs torch")
from torch import nn  # noqa: E402

from export.checkpoint_file import write_checkpoint  # noqa: E402
from export.courses import Score  # noqa: E402
from export.fit import Fit, Hooks, atomically  # noqa: E402
from export.train_plan import (  # noqa: E402
    Plan,
    Stage,
    TrainingError,
    TrainRecipe,
    batches,
    rate,
    seed_of,
)

RECIPE = TrainRecipe("a test", epochs=4, batch_size=4, lr=0.1)
PLAN = Plan("revisited-base", RECIPE, (8, 8), ("a", "b"), ("train", "val"))


@pytest.fixture(autouse=True)
def one_thread():
    """Two threads wait for one another where others compute too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Course:
    """Points on a line through a module with dropout, and validation scores from a list."""

    images = 16

    def __init__(self, module: nn.Module, accuracies=(), losses=()):
        self.module, self.accuracies, self.losses = module, list(accuracies), list(losses)
        self.seen: list[list[int]] = []
        self.orders: list[list[int]] = []

    def begin(self, epoch: int, order) -> None:
        self.seen.append([])
        self.orders.append(order.tolist())

    def lesson(self, index):
        self.seen[-1] += index.tolist()
        inputs = torch.stack([index.float(), index.float() ** 2], 1) / 100
        loss = ((self.module(inputs) - inputs[:, :1]) ** 2).mean()
        return (loss if not self.losses else loss * self.losses.pop(0)), torch.tensor(1)

    def judge(self) -> Score:
        accuracy = self.accuracies.pop(0) if self.accuracies else 0.5
        return Score(math.nan if accuracy is None else 1.0, accuracy or 0.0)


def module() -> nn.Module:
    """Something with dropout and BatchNorm, always the same."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 1))


def fit(tmp_path, plan=PLAN, accuracies=(), losses=()):
    """A training whose kept epochs are listed."""
    learner, kept = module(), []
    course = Course(learner, accuracies, losses)
    hooks = Hooks(lambda line: kept.append(line.epoch), lambda lines: None, clock=lambda: 0.0)
    return Fit(plan, learner, course, tmp_path / "state.pt", hooks, tmp_path / "best"), course, kept


def changed(**fields) -> Plan:
    """The plan with another recipe."""
    return dataclasses.replace(PLAN, recipe=dataclasses.replace(RECIPE, **fields))


def test_only_a_better_epoch_is_kept(tmp_path):
    """Equal is not better; the best line is what comes back."""
    training, _, kept = fit(tmp_path, accuracies=[0.3, 0.6, 0.6, 0.5])
    assert training.run().epoch == 2
    assert kept == [1, 2]


def test_epochs_at_a_smaller_size_are_not_kept(tmp_path):
    """However good they were: the network is used at its own size."""
    plan = changed(stages=(Stage(2, 0.5),))
    training, _, kept = fit(tmp_path, plan, accuracies=[0.9, 0.9, 0.2, 0.1])
    assert training.run().epoch == 3
    assert kept == [3]
    assert [line.size for line in training.lines] == [(4, 4), (4, 4), (8, 8), (8, 8)]


def test_patience_stops_early(tmp_path):
    """After so many epochs without a better one."""
    plan = dataclasses.replace(PLAN, patience=2)
    training, _, _ = fit(tmp_path, plan, accuracies=[0.6, 0.5, 0.6, 0.9])
    training.run()
    assert len(training.lines) == 3


def test_the_plateau_divides_the_rate(tmp_path):
    """After more than ``plateau_patience`` epochs without a better accuracy, by ten."""
    plan = changed(schedule="plateau", plateau_patience=1, epochs=5)
    training, _, _ = fit(tmp_path, plan, accuracies=[0.6, 0.5, 0.5, 0.5, 0.5])
    training.run()
    assert [line.lr for line in training.lines] == pytest.approx([0.1, 0.1, 0.1, 0.01, 0.01])


def test_every_epoch_sees_all_images_in_another_order(tmp_path):
    """Each once; the order depends on seed and epoch only."""
    training, course, _ = fit(tmp_path)
    training.run()
    again, other, _ = fit(tmp_path / "again")
    again.run()
    assert all(sorted(seen) == list(range(16)) for seen in course.seen)
    assert course.seen[0] != course.seen[1]
    assert course.seen == other.seen


def test_a_resumed_training_ends_in_the_same_weights(tmp_path):
    """Dropout, BatchNorm, Adam's moments and the schedule included, bit for bit."""
    plan = changed(schedule="cosine", warmup=0.2)
    whole, _, _ = fit(tmp_path / "whole", plan)
    whole.run()
    broken, course, _ = fit(tmp_path / "broken", plan, losses=[1] * 9)
    course.lesson = _interrupted(course.lesson, after=9)
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    torch.manual_seed(123)  # the new process has another history
    resumed, _, _ = fit(tmp_path / "broken", plan)
    assert resumed.resume()
    assert len(resumed.lines) == 2
    resumed.run()
    ours, theirs = resumed.learner.state_dict(), whole.learner.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert resumed.lines == whole.lines


def _interrupted(lesson, after):
    calls = []

    def interrupted(index):
        calls.append(1)
        if len(calls) > after:
            raise KeyboardInterrupt
        return lesson(index)

    return interrupted


def test_there_is_nothing_to_resume_at_first(tmp_path):
    """Then it starts at the first epoch."""
    training, _, _ = fit(tmp_path)
    assert not training.resume()


@pytest.mark.parametrize("what", ["other", "damaged"])
def test_a_foreign_state_is_refused(tmp_path, what):
    """One of other options, or half a file: the sentence names it and says what to do."""
    training, _, _ = fit(tmp_path)
    training.run()
    plan = PLAN
    if what == "other":
        plan = dataclasses.replace(PLAN, seed=7)
    else:
        content = (tmp_path / "state.pt").read_bytes()
        (tmp_path / "state.pt").write_bytes(content[: len(content) // 2])
    again, _, _ = fit(tmp_path, plan)
    with pytest.raises(TrainingError, match=r"state\.pt.*remove"):
        again.resume()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops(tmp_path, bad):
    """Epoch and step are named, the last good epoch stays, its state can be resumed."""
    training, _, kept = fit(tmp_path, losses=[1] * 5 + [bad])
    with pytest.raises(
        TrainingError, match=r"epoch 2, step 2 of 4.*of epoch 1, stays: .*best.*--name"
    ):
        training.run()
    assert kept == [1]
    again, _, _ = fit(tmp_path)
    assert again.resume()
    assert len(again.lines) == 1


def test_a_validation_loss_that_is_no_number_stops(tmp_path):
    """Weights may break in the epoch's last step: nothing is kept then."""
    training, _, kept = fit(tmp_path, accuracies=[None])
    with pytest.raises(TrainingError, match="validation loss became nan in epoch 1.*no good"):
        training.run()
    assert kept == []
    assert not (tmp_path / "state.pt").exists()


@contextlib.contextmanager
def no_room():
    """Files end after 512 bytes, as they would on a disk that is full."""
    resource = pytest.importorskip("resource", reason="there is no limit of files here")
    usual, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (usual, most))


def test_a_full_disk_is_an_error_of_the_system(tmp_path):
    """Whatever torch and safetensors make of it: the file is named, and nothing half is left."""
    training, _, _ = fit(tmp_path)
    with pytest.raises(OSError, match=r"state\.pt"), no_room():
        training.run()
    with pytest.raises(OSError, match=r"best\.safetensors"), no_room():
        write_checkpoint(tmp_path / "best.safetensors", nn.Linear(32, 32), {})
    assert list(tmp_path.iterdir()) == []


def test_the_rate_rises_and_falls():
    """Linear over the warm-up, then a cosine to nothing; constant otherwise."""
    recipe = dataclasses.replace(RECIPE, schedule="cosine", warmup=0.1)
    rates = [rate(recipe, step, 100) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1
    assert rates[55] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rate(RECIPE, 50, 100) == 1


def test_batches_are_whole():
    """A rest is left out, but for data smaller than one batch."""
    assert batches(100, 32) == 3
    assert batches(5, 32) == 1


def test_seeds_differ_by_use():
    """The order of an epoch is no function of its variations; both are of the seed."""
    uses = [(0, "a", 1), (0, "a", 2), (0, "b", 1), (1, "a", 1)]
    assert len({seed_of(*use) for use in uses}) == 4
    assert seed_of(0, "a", 1) == seed_of(0, "a", 1)


def test_views_repeat():
    """After so many views the first comes again; without a number never."""
    assert [dataclasses.replace(PLAN, views=2).view(epoch) for epoch in (1, 2, 3)] == [1, 2, 1]
    assert PLAN.view(9) == 9


def test_half_a_file_is_never_seen(tmp_path):
    """What fails while it is written leaves the old file, and nothing beside it."""
    file = tmp_path / "file.txt"
    file.write_text("old")

    def fails(part):
        part.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        atomically(file, fails)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]
