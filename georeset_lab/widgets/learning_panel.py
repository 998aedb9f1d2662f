"""`LearningPanel`: how good the map is on places without labels, and whether more labels would help; on demand.

The estimate is `georeset_lab.embed.probing.learning_curve.grow_curve`, run beside the interface; its drawing is in
``learning_chart.py``.
"""

from __future__ import annotations

from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from georeset_lab.widgets.board import Board
from georeset_lab.widgets.charts import meter
from georeset_lab.widgets.learning_chart import learning_chart, learning_keys

if TYPE_CHECKING:
    from georeset_lab.embed.labels.book import LabelBook
    from georeset_lab.embed.probing.learning_curve import LearningCurve
    from georeset_lab.widgets.state import Exploration

__all__ = ["LearningPanel"]

DRAWS = 5
"""Orders in which the labels are drawn; each makes the curve surer."""
HINT = "Holds whole places out, learns from the other labels and counts how often it is right, with few labels and with many."
STALE = "The labels have changed since: estimate again."


class LearningPanel(Board):
    """A button, progress, the curve of the embedding beside that of raw bands, and what they advise.

    Parameters
    ----------
    state : Exploration
    book : LabelBook
    """

    curve: LearningCurve | None = None
    """The last estimate, as far as it has come."""

    def __init__(self, state: Exploration, book: LabelBook) -> None:
        super().__init__(parts=dict.fromkeys(("head", "said", "chart"), ""))
        self.state, self.book = state, book
        self._turn = 0
        self._busy = self._stale = False
        self._done = 0
        self._trouble = ""
        self._stop_listening = book.observe(lambda _: state.deliver(self._changed))
        state.observe(self._changed, "present")
        self._draw()

    def close(self) -> None:
        """Stop listening, and what is being estimated."""
        self._turn += 1
        self._stop_listening()
        self.state.unobserve(self._changed, "present")
        super().close()

    def heard(self, what: str, value: str, *, checked: bool | None, at: tuple[float, float] | None) -> None:
        """The button."""
        if what == "estimate":
            self.estimate()
        elif what == "stop":
            self.stop()

    def estimate(self) -> None:
        """Begin to estimate from the labels and modalities there are now; what was being estimated is given up."""
        self._turn += 1
        turn, emb, scene, labels = self._turn, self.state.current, self.state.scene, self.book.labels()
        self._busy, self._stale, self._done, self._trouble, self.curve = True, False, 0, "", None
        self._draw()

        def job() -> str:
            from georeset_lab.embed.probing.learning_curve import grow_curve

            try:
                for curve in grow_curve(emb, labels, scene=scene, draws=DRAWS):
                    self.state.deliver(partial(self._grown, turn, curve))
                    if turn != self._turn:
                        break
            except Exception as err:  # shown to the user; a thread has nobody else to tell
                return str(err) or type(err).__name__
            return ""

        def done(trouble: str) -> None:
            if turn == self._turn:
                self._busy, self._trouble = False, trouble
                self._draw()

        self.state.run(job, done)

    def stop(self) -> None:
        """End the estimate after the draw at hand; what is known already stays."""
        self._turn += 1
        self._busy = False
        self._draw()

    def _grown(self, turn: int, curve: LearningCurve) -> None:
        if turn == self._turn:
            self.curve = curve
            self._done += 1
            self._draw()

    def _changed(self, _: Any = None) -> None:
        if not self._stale and (self.curve is not None or self._busy or self._trouble):
            self._stale, self._trouble = True, ""
            self._draw()

    def _draw(self) -> None:
        if self._busy:
            press = (
                '<button data-do="stop">Stop</button>'
                f'<span role="status">{meter(self._done / DRAWS)}draw {min(self._done + 1, DRAWS)} of {DRAWS}</span>'
            )
        else:
            word = "Estimate again" if self.curve is not None else "Estimate"
            press = f'<button data-do="estimate">{word}</button>'
        said = ""
        if self._trouble:
            said = f'<p class="gl-note gl-bad">{escape(self._trouble)}</p>'
        elif self._stale:
            said = f'<p class="gl-note gl-bad">{STALE}</p>'
        elif self.curve is None:
            said = f'<p class="gl-soft">{HINT}</p>'
        curve = self.curve
        self.put(
            head=f'<h4>How good is the map elsewhere?</h4><div class="gl-row">{press}</div>',
            said=said + ("" if curve is None else _words(curve)),
            chart="" if curve is None else learning_chart(curve) + learning_keys(curve),
        )


def _words(curve: LearningCurve) -> str:
    """What the curve says, in sentences."""
    last = curve.even - 1
    many = curve.per_class[last]
    scores = {name: 100 * values[~np.isnan(values).any(axis=1)][:, last] for name, values in curve.scores.items()}
    own = scores["embedding"]
    if not own.size:
        return ""
    text = f"<b>{own.mean():.0f} %</b> right on held-out places"
    if "raw bands" in scores and scores["raw bands"].size:
        text += f", raw bands alone {scores['raw bands'].mean():.0f} %"
    text += f" <span class='gl-soft'>(mean over the classes; {many} label{'s' * (many != 1)} of each)</span>"
    advice = f"<p>{escape(curve.advice)}</p>" if curve.advice else ""
    notes = f'<p class="gl-soft">{escape("; ".join(curve.notes))}</p>' if curve.notes else ""
    return f"<p>{text}</p>{advice}{notes}"
