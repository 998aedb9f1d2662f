"""`LiveMap`: keeps the class map in step with the labels: classes at once, their doubts after, better settings in pauses."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from georeset_lab.embed.probing.live import LiveProbe

if TYPE_CHECKING:
    from georeset_lab.embed.embeddings import Embeddings
    from georeset_lab.embed.labels.book import LabelBook
    from georeset_lab.widgets.state import Exploration


class LiveMap:
    """Fits a `LiveProbe` after each change of the labels or of the modalities, and sets ``state.prediction``.

    Work goes on beside the interface, one step at a time; a change that comes meanwhile is taken up as soon as the step
    is done, and what has become stale is not shown.

    Parameters
    ----------
    state : Exploration
    book : LabelBook
    said : callable
        Told why there is no map, or what was left out; an empty text if all is well.
    """

    def __init__(self, state: Exploration, book: LabelBook, said: Callable[[str], None]) -> None:
        self.state, self.book, self._said = state, book, said
        self.probe = LiveProbe()
        self._fitted_on: Embeddings | None = None
        self._wanted = 0
        self._busy = False
        self._refitted = -1
        self._stop = book.observe(lambda _: state.deliver(self.ask))
        state.observe(self._switched, "present")
        threading.Thread(target=self._warm_up, daemon=True).start()
        if book.items:
            self.ask()

    def ask(self) -> None:
        """Make the map anew, now or as soon as the work at hand is done."""
        self._wanted += 1
        if not self._busy:
            self._begin()

    def close(self) -> None:
        """Stop listening."""
        self._stop()
        self.state.unobserve(self._switched, "present")

    def _warm_up(self) -> None:
        """In a thread: numba takes half a second to import, which the first picture need not wait for."""
        self.state.await_picture()
        from georeset_lab.embed.probing.kernels import warm_up

        warm_up()

    def _switched(self, _: Any) -> None:
        if self.book.items:
            self.ask()

    def _begin(self) -> None:
        turn, emb, labels = self._wanted, self.state.current, self.book.labels()
        self._busy = True

        def first() -> Any:
            if self._fitted_on is not emb:
                found = self.probe.fit(emb, labels)
                self._fitted_on = emb
                return found
            return self.probe.update(labels)

        self._do(turn, first, self._classes)

    def _do(self, turn: int, job: Callable[[], Any], done: Callable[[int, Any], None], *, later: bool = False) -> None:
        def safe() -> Any:
            try:
                return job(), None
            except Exception as err:  # shown to the user; a thread has nobody else to tell
                return None, err

        def finish(answer: Any) -> None:
            found, err = answer
            if err is not None:
                self._busy = False
                self.state.no_picture()
                self._said(str(err))
            elif turn != self._wanted:
                self._begin()
            else:
                done(turn, found)

        self.state.run(safe, finish, later=later)

    def _classes(self, turn: int, found: Any) -> None:
        self.state.prediction = found
        if found is None:
            self._busy = False
            self.state.no_picture()
            self._said(self.probe.reason if self.book.items else "")
            return
        self._said("; ".join(self.probe.notes))
        self._do(turn, self.probe.uncertainty, self._doubts, later=True)

    def _doubts(self, turn: int, found: Any) -> None:
        self.state.prediction = found
        if self._refitted == turn:
            self._busy = False
            return
        self._do(turn, self.probe.refit, self._settled)

    def _settled(self, turn: int, found: Any) -> None:
        self._refitted = turn
        if found is None:
            self._busy = False
        else:
            labels = self.book.labels()
            self._do(turn, lambda: self.probe.update(labels), self._again)

    def _again(self, turn: int, found: Any) -> None:
        if found is None:
            self._busy = False
        else:
            self._do(turn, self.probe.uncertainty, self._doubts)
