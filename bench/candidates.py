"""The search for how one variant is quantised: which candidates, which is best, when to stop.

What is tried next, and which of equals is taken, follows from the plan and from results in
the plan's order: a search that goes on after a stop chooses what one without a stop would.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from bench import choices
from bench.choices import Blamed, Choice, Score
from bench.options import UsageError
from bench.record import Answers
from bench.search_log import Log, Tried
from bench.search_text import outcome
from export.artifact import Artifact
from export.build import Int8
from export.images import Entry

RECIPE = "int8-static"
METHODS = (
    Int8("minmax"),
    Int8("entropy"),
    Int8("percentile", 99.999),
    Int8("percentile", 99.99),
    Int8("percentile", 99.9),
)
IMAGES = (16, 64)
"""Numbers of calibration images."""
MOST_KEPT = 8
"""Layers that may go back to fp32, unless told otherwise."""

MOST_BLAMED = 5
"""Layers that are named where the limit is not kept, or as many as might have gone back."""

Ask = Callable[[Artifact, Sequence[Entry]], Answers]
"""What the session of a file answers to some images of the data."""


class NoFile(Exception):
    """A candidate that could not be built or asked; the text says why."""


@dataclass(frozen=True)
class Tools:
    """What a search does its work with: ``bench.search_tools``, or fakes.

    ``build`` makes a file, in fp32 for ``None``, and ``ask`` has it answer; both may raise
    :class:`NoFile`. ``rank`` names the layers of an fp32 file, those first that suffer most.
    """

    build: Callable[[Int8 | None], Artifact]
    ask: Ask
    rank: Callable[[Artifact, Int8], tuple[Blamed, ...]]
    say: Callable[[str], object] = print


class Search:
    """One variant: tries candidates, keeps the best so far in a choice file."""

    def __init__(self, tools: Tools, log: Log, draft: Choice, entries: Sequence[Entry]) -> None:
        self.tools = tools
        self.log = log
        self.draft = draft
        self.entries = entries
        self.order: list[Int8] = []
        self.most_kept = MOST_KEPT

    def run(self, grid: Sequence[Int8], most_kept: int = MOST_KEPT) -> Tried | None:
        """The best candidate; ``None`` if not one of them could be built and asked."""
        self.most_kept = most_kept
        for int8 in grid:
            self.attempt(int8)
        best = self.best
        for int8 in variations(best.int8) if best else ():
            self.attempt(int8)
        best = self.best
        if best is not None and not self.keeps_limit(best):
            self._free_layers(best.int8)
        return self.best

    def attempt(self, int8: Int8) -> Tried:
        """Measure a candidate, unless that was done; say how it did.

        What failed stays so: if another start had another result, it would choose otherwise.
        """
        before, known = self.best, self.log.find(int8)
        tried = known or self._measure(int8)
        if not known:
            self.log.add(tried)
        self.order.append(int8)
        again = " (so the log says; --fresh tries it again)" if known else ""
        result = str(tried.score) if tried.score else f"no result: {tried.reason}{again}"
        better = "  <- best so far" if self.best is not before else ""
        self.tools.say(f"{int8}: {result}{better}")
        if not known:
            self._keep()
        return tried

    def _measure(self, int8: Int8) -> Tried:
        begun = time.monotonic()
        try:
            artifact = self.tools.build(int8)
            self._check_weights(artifact)
            answers = self.tools.ask(artifact, self.entries)
        except NoFile as exc:
            return Tried(int8, reason=str(exc), seconds=time.monotonic() - begun)
        score = compared(self.exact, answers)
        return Tried(int8, artifact.key, score, seconds=time.monotonic() - begun)

    def _check_weights(self, artifact: Artifact) -> None:
        """A checkpoint that is written anew meanwhile would win or lose by itself."""
        if artifact.reference != self.fp32.reference:
            raise UsageError(
                f"the weights or the data of {self.draft.variant} have changed since its fp32 "
                "file was built: search a copy that nobody writes to, and say --fresh"
            )

    @functools.cached_property
    def fp32(self) -> Artifact:
        """The file that nothing may be lost against."""
        return self.tools.build(None)

    @functools.cached_property
    def exact(self) -> Answers:
        """What fp32 answers to the same images."""
        return self.tools.ask(self.fp32, self.entries)

    @property
    def best(self) -> Tried | None:
        """Of those tried so far; of equals the first, which is the simplest.

        Unsigned activations come first among those that keep the limit: where a signed
        one has several readers ONNX Runtime leaves it alone on x86, and computes in fp32.
        """
        done = [one for one in map(self.log.find, self.order) if one and one.score]

        def rank(one: Tried) -> tuple[bool, bool, float]:
            kept = self.keeps_limit(one)
            unsigned = kept and one.int8.activation_type == "u8"
            return kept, unsigned, one.score.int8 if one.score else -1.0

        return max(done, key=rank, default=None)

    def keeps_limit(self, tried: Tried) -> bool:
        """Whether it loses no more than was allowed."""
        return tried.score is not None and self.allows(tried.score)

    def allows(self, score: Score) -> bool:
        """Whether the limit does: by what was counted, wherever its interval ends."""
        return score.drop <= self.draft.max_drop

    def _free_layers(self, int8: Int8) -> None:
        """Leave layers in fp32, one more each time, the worst first, until the limit is kept."""
        names = tuple(layer.name for layer in self._ranking(int8))
        for count in range(1, min(self.most_kept, len(names)) + 1):
            if self.keeps_limit(self.attempt(replace(int8, keep_fp32=names[:count]))):
                return

    def _ranking(self, int8: Int8) -> tuple[Blamed, ...]:
        """The layers that suffer most under a scheme; it takes minutes, and is kept."""
        ranking = self.log.ranking(int8)
        if ranking is None:
            self.tools.say(f"the limit is not kept: ranking the layers under {int8}")
            ranking = self.tools.rank(self.fp32, int8)
            self.log.add_ranking(int8, ranking)
        return ranking

    def _blamed(self, best: Tried) -> tuple[Blamed, ...]:
        """What stays in fp32; where that isn't enough, the worst layers, be they in INT8 or not."""
        ranking = self.log.ranking(_whole(best.int8)) or ()
        return ranking[: len(best.int8.keep_fp32) if self.keeps_limit(best) else self._most_blamed]

    @property
    def _most_blamed(self) -> int:
        return max(self.most_kept, MOST_BLAMED)

    def _keep(self) -> None:
        """Write the best so far where ``bench.run --int8-choice`` finds it.

        A choice that was finished gives way only to another one.
        """
        choice = self._so_far()
        if choice is not None and not self.log.finished:
            choices.write(self.log.path.parent, choice)

    def _so_far(self) -> Choice | None:
        """The best so far as a choice."""
        best = self.best
        if best is None:
            return None
        return replace(
            self.draft,
            int8=best.int8,
            met_on_val=self.keeps_limit(best),
            val=best.score,
            blamed=self._blamed(best),
            tried=len(self.order),
            plain=self._plain,
            made=self.log.made,
        )

    @property
    def _plain(self) -> Score | None:
        """What the usual options come to, if they were tried: what the others are held against."""
        tried = self.log.find(Int8())
        return tried.score if tried else None

    def finish(self, entries: Sequence[Entry]) -> Choice:
        """The pick, asked about images that nothing was decided by; for the first time only.

        Another pick of the same log (another limit, more candidates) is another look at
        them, which is counted: whoever may choose between several looks decides by them.
        """
        pick = self._so_far()
        if pick is None:
            raise NoFile(
                f"no candidate for {self.draft.variant} could be built and asked: see "
                f"{self.log.path}; --fresh tries them again"
            )
        seen = self.log.test(pick.int8)
        if seen is None:
            exact = self.tools.ask(self.fp32, entries)
            seen = compared(exact, self.tools.ask(self.tools.build(pick.int8), entries))
        looks = self.log.looks + (self.log.test(pick.int8) is None)
        choice = replace(pick, test=seen, met_on_test=self.allows(seen), looks=looks, finished=True)
        choice = replace(choice, verdict=outcome(choice))
        self.log.add_test(choice.int8, seen, choice.verdict)
        choices.write(self.log.path.parent, choice)
        if not choice.met:
            # Only named: a choice that the test part had a say in would need another one.
            blamed = self._ranking(_whole(choice.int8))[: self._most_blamed]
            choice = replace(choice, blamed=blamed)
            choices.write(self.log.path.parent, choice)
        return choice


def _whole(int8: Int8) -> Int8:
    """The same scheme with no layer left in fp32."""
    return replace(int8, keep_fp32=())


def variations(int8: Int8) -> tuple[Int8, ...]:
    """What else is tried of the best calibration."""
    return (
        replace(int8, per_channel=False),
        replace(int8, activation_type="s8"),
        replace(int8, per_channel=False, activation_type="s8"),
    )


def grid_of(images: Sequence[int]) -> tuple[Int8, ...]:
    """Every method with every number of images, the simplest first."""
    return tuple(replace(method, images=count) for count in images for method in METHODS)


def compared(exact: Answers, rounded: Answers) -> Score:
    """Two files' answers to the same images."""
    pairs = [(a == 0, b == 0) for a, b in zip(exact.ranks, rounded.ranks, strict=True)]
    return Score(
        images=len(pairs),
        fp32=sum(a for a, _ in pairs),
        int8=sum(b for _, b in pairs),
        lost=sum(a and not b for a, b in pairs),
        gained=sum(b and not a for a, b in pairs),
    )
