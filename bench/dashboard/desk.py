"""The desk: who measures what when, and what becomes of it.

All state belongs to the event loop; only ``measuring`` works in other threads, which hand
back what they found. One piece of work is one round of one model: a session's next piece waits
for one of each other session.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from bench import validity
from bench.dashboard import measuring, reasons, rounds, together
from bench.dashboard.advice import Accuracy, Advice, advise
from bench.dashboard.cards import Card, cards
from bench.dashboard.measuring import ROUNDS, Stopped
from bench.dashboard.models import Model, baseline
from bench.dashboard.pool import Pool, Warm
from bench.dashboard.runs import Place, Run, Turn, turns_of
from bench.dashboard.turns import Turns
from bench.dashboard.uploads import Refused
from bench.record import Measurement

MOST_WAITING = 600
"""Pieces of work that one session may have waiting."""
MOST_WAITING_OF_ALL = 20_000
_KNOWN_BLOCKS = 200
_LOG = logging.getLogger(__name__)


class Desk:
    """Takes runs, and has ``pool`` measure them one piece after another.

    ``accuracies`` are those of stored rows. ``work`` is the task that does it.
    """

    def __init__(self, pool: Pool, accuracies: Mapping[str, Accuracy] | None = None) -> None:
        self.pool = pool
        self.accuracies: Mapping[str, Accuracy] = accuracies or {}
        self._turns: Turns[Turn] = Turns()
        self._news = asyncio.Event()
        self._blocks: list[Measurement] = []
        self._current: Run | None = None

    # --- asked for

    def submit(self, run: Run) -> None:
        """Queue a run. Raises :class:`Refused` where too much waits already."""
        more = len(run.models) * ROUNDS + run.beside
        if self._turns.count(run.session) + more > MOST_WAITING:
            raise Refused(429, "too much of yours is waiting: cancel something, or wait for it")
        if len(self._turns) + more > MOST_WAITING_OF_ALL:
            raise Refused(503, "too many people are waiting: try again in a while")
        for turn in turns_of(run):
            self._turns.add(run.session, turn)
        self.tell(run)
        self._tell_places()
        self._news.set()

    def cancel(self, run: Run) -> None:
        """Nobody wants it: what waits is dropped, what is measured stops at its next step."""
        if run.over:
            return
        run.state = "cancelled"
        self._turns.drop(lambda turn: turn.run is run)
        for name, one in run.seen.items():
            if one.state in ("waiting", "working"):
                run.seen[name] = replace(one, state="cancelled")
        self._finish(run)
        self._tell_places()

    def give_up(self, reason: str) -> None:
        """Nothing can be measured any more: every run ends, and its cards say why."""
        left = {turn.run for turn in self._turns.order()}
        for run in left if self._current is None else left | {self._current}:
            for name, one in run.seen.items():
                if one.state in ("waiting", "working"):
                    run.seen[name] = replace(one, state="failed", reason=reason)
            self.cancel(run)

    def unheard(self, run: Run) -> None:
        """Cancel a run to which nobody listens any more."""
        if not run.feed.readers:
            self.cancel(run)

    @property
    def waiting(self) -> int:
        """Pieces of work that wait, of everybody."""
        return len(self._turns)

    # --- at work

    async def work(self) -> None:
        """Take pieces of work for ever."""
        while True:
            turn = self._turns.take()
            if turn is None:
                self._news.clear()
                await self._news.wait()
                continue
            turn.run.state, self._current = "working", turn.run
            self._tell_places()
            await self._carry_out(turn)
            self._current = None
            if not turn.run.over and not self._left(turn.run):
                turn.run.state = "done"
                self._finish(turn.run)

    def _left(self, run: Run) -> bool:
        return any(turn.run is run for turn in self._turns.order())

    async def _carry_out(self, turn: Turn) -> None:
        run = turn.run
        models = [model for model in turn.models if run.seen[model.name].state != "failed"]
        if turn.number < ROUNDS:
            for model in models:
                await self._round(run, model, turn.number)
        elif len(models) > 1:
            await self._all_at_once(run, models)
        self.tell(run)

    async def _round(self, run: Run, model: Model, number: int) -> None:
        """One round of one model; whatever happens to its child becomes part of the card."""
        self._change(run, model, state="working")
        loop = asyncio.get_running_loop()

        def answered(warm: Warm, outputs: measuring.Outputs) -> None:
            load_s = warm.loaded["load_s"]
            loop.call_soon_threadsafe(self._answered, run, model, outputs, load_s)

        try:
            block, died = await asyncio.to_thread(
                rounds.measured, self.pool, run, model, number, answered
            )
        except Stopped:
            return
        except rounds.FAILURES as exc:
            _LOG.warning("%s: %s", model.name, exc)
            self._change(run, model, state="failed", reason=reasons.shown(exc))
            return
        except Exception as exc:
            # Ours, and no reason to measure nothing more for anybody.
            _LOG.exception("%s", model.name)
            self._change(run, model, state="failed", reason=reasons.mistake(exc))
            return
        self._round_over(run, model, block, died)

    def _round_over(self, run: Run, model: Model, block: Measurement, died: str) -> None:
        """A round is over; ``died``: how the child that had begun it ended, empty: it did not."""
        self._blocks = [*self._blocks[1 - _KNOWN_BLOCKS :], block]
        one = run.seen[model.name]
        if died:
            _LOG.warning("%s was loaded again: %s", model.name, died)
        note = (f"its process died ({reasons.plain(died)}) and was replaced",) if died else ()
        done = block.round == ROUNDS - 1
        self._change(
            run,
            model,
            state=one.state if one.state == "cancelled" else "done" if done else "waiting",
            blocks=(*one.blocks, block),
            notes=(*one.notes, *note),
        )

    async def _all_at_once(self, run: Run, models: Sequence[Model]) -> None:
        """What running in parallel does to each of them; their own numbers stay as they are."""
        found: Mapping[str, together.Latencies | Exception]
        try:
            found = await asyncio.to_thread(together.at_once, self.pool, run, models)
        except Exception as exc:
            found = {model.name: exc for model in models}
        count = sum(isinstance(one, tuple) for one in found.values())
        for model in models:
            one = found[model.name]
            if isinstance(one, tuple):
                self._change(run, model, beside_ns=one, others=count - 1)
            elif not isinstance(one, Stopped):
                self._not_beside(run, model, one)

    def _not_beside(self, run: Run, model: Model, exc: Exception) -> None:
        expected = isinstance(exc, rounds.FAILURES)
        _LOG.warning("%s beside others: %s", model.name, exc, exc_info=None if expected else exc)
        why = reasons.shown(exc) if expected else reasons.mistake(exc)
        note = f"not timed beside the others: {why}"
        self._change(run, model, notes=(*run.seen[model.name].notes, note))

    def _answered(self, run: Run, model: Model, outputs: measuring.Outputs, load_s: float) -> None:
        self._change(run, model, outputs=outputs, load_s=load_s)

    def _change(self, run: Run, model: Model, **changes: object) -> None:
        run.seen[model.name] = replace(run.seen[model.name], **changes)  # type: ignore[arg-type]
        self.tell(run)

    # --- told

    def cards(self, run: Run) -> list[Card]:
        """All cards of a run as they are now."""
        usual_s = validity.usual_canary_s(self._blocks)
        planned = measuring.runs_of_round(run.runs) * ROUNDS
        return cards(list(run.seen.values()), baseline(run.models), planned, usual_s)

    def advice(self, run: Run, shown: Sequence[Card]) -> Advice:
        """Which card to ship, by what is known now."""
        final = all(one.state in ("done", "failed") for one in run.seen.values())
        return advise(list(run.seen.values()), shown, self.accuracies, final=final)

    def tell(self, run: Run) -> None:
        """Publish the cards, and what follows from them."""
        shown = self.cards(run)
        for card in shown:
            run.feed.publish("card", card.name, card)
        run.feed.publish("advice", "", self.advice(run, shown))
        run.feed.publish("place", "", Place(run.state, run.ahead))

    def _finish(self, run: Run) -> None:
        run.ahead = None
        self.tell(run)
        run.feed.close()

    def _tell_places(self) -> None:
        """Say to each run how much comes before its next piece of work."""
        now = self._current
        places: dict[Run, int | None] = {now: None} if now is not None else {}
        for ahead, turn in enumerate(self._turns.order(), start=len(places)):
            places.setdefault(turn.run, ahead)
        for run, place in places.items():
            run.ahead = place
            run.feed.publish("place", "", Place(run.state, run.ahead))
