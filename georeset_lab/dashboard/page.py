"""What a page shows around the explorer: a bar, a line that says what goes on, and one of chooser, progress, explorer.

Only Panel is here. What happens when something is pressed is told to a `Visit`; every text from outside is escaped, since
several of Panel's parts would run it as HTML.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

import panel as pn

from georeset_lab.dashboard.pane import LocalIPyWidget, with_beacon

__all__ = ["Actions", "Page", "Raster", "read_template"]

_HERE = Path(__file__).parent
_FIT: dict[str, Any] = {"margin": (0, 6), "align": "center"}
_FONT = ':host { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }\n'
_CHROME = (
    _FONT
    + """
.bk-btn.bk-btn-default, .bk-btn.bk-btn-primary, .bk-input, select.bk-input {
  background: var(--card, #fff); color: var(--ink, #17201c); border: 1px solid var(--line, #dde3dd) !important;
  border-radius: 6px; font: inherit; font-size: 13px; box-shadow: none;
}
.bk-btn.bk-btn { padding: 0 12px; display: inline-flex; align-items: center; justify-content: center; height: 100%; }
:host(.wide) .bk-btn.bk-btn { justify-content: flex-start; padding: 0 16px; font-size: 14px; }
.bk-btn.bk-btn:disabled { opacity: .5; }
.bk-btn.bk-btn-default:hover:not(:disabled), .bk-btn.bk-btn-default:focus-visible {
  border-color: var(--accent, #0b6e5f) !important; color: var(--accent, #0b6e5f);
}
.bk-btn.bk-btn-primary {
  background: var(--accent, #0b6e5f) !important; border-color: transparent !important; color: var(--card, #fff) !important;
}
.bk-btn.bk-btn-primary:hover:not(:disabled) { color: var(--card, #fff); filter: brightness(1.1); }
.bk-btn a { color: inherit; text-decoration: none; }
select.bk-input { appearance: auto !important; background-image: none !important; padding-right: 4px; }
select.bk-input option { background: var(--card, #fff); color: var(--ink, #17201c); }
label { color: var(--soft, #56635c); font-size: 12px; }
"""
)


@dataclass(frozen=True)
class Raster:
    """An uploaded raster that waits for its sensor."""

    key: str
    name: str
    """What the user called the file."""
    facts: str
    """Bands and size, in words."""
    guess: str | None
    """Sensor that the name of the file suggests."""


@dataclass(frozen=True)
class Actions:
    """What a page tells when something is pressed."""

    open: Callable[[str], None]
    """A source, by key."""
    leave: Callable[[], None]
    """Back to the list of scenes."""
    stop: Callable[[], None]
    """End the encoding."""
    open_rasters: Callable[[Mapping[str, str]], None]
    """Uploaded rasters, key -> sensor."""
    export: Callable[[str], Awaitable[bytes]]
    """Bytes of an export, by its kind."""


class Page:
    """One page of the dashboard.

    Parameters
    ----------
    actions : Actions
    exports : mapping of kind to (what people read, ending of the file)
    """

    def __init__(self, actions: Actions, exports: Mapping[str, tuple[str, str]]) -> None:
        self._actions = actions
        self._exports = dict(exports)
        self._stem = "georeset"
        self._title = pn.pane.HTML("", **_FIT, stylesheets=[_TITLE])
        self._note = pn.pane.HTML("", visible=False, margin=0, stylesheets=[_NOTE])
        self._leave = pn.widgets.Button(
            label="Other scene", visible=False, stylesheets=[_CHROME], height=30, width=104, **_FIT
        )
        self._leave.on_click(lambda _: actions.leave())
        self._kind = pn.widgets.Select(
            options={what: kind for kind, (what, _) in exports.items()},
            stylesheets=[_CHROME],
            width=190,
            height=30,
            **_FIT,
        )
        self._save = pn.widgets.FileDownload(
            callback=self._export, filename="georeset", label="Download", color="default", auto=True, embed=False,
            stylesheets=[_CHROME], width=100, height=30, **_FIT,
        )  # fmt: skip
        self._kind.param.watch(lambda _: self._name_export(), "value")
        self._saving = pn.Row(self._kind, self._save, visible=False, margin=0, **{"align": "center"})
        self._uploader = pn.Row(margin=0, align="center")
        bar = pn.Row(
            self._title, self._leave, pn.HSpacer(), self._uploader, self._saving, sizing_mode="stretch_width",
            height=46, margin=0, stylesheets=[_BAR],
        )  # fmt: skip
        self._main = pn.Column(sizing_mode="stretch_both", margin=0, stylesheets=[_MAIN])
        self.root = pn.Column(bar, self._main, self._note, sizing_mode="stretch_both", margin=0)
        """The whole page."""
        self.show_title("")

    # -- the bar ------------------------------------------------------------------------------------------------------

    def show_title(self, scene: str) -> None:
        """Name of the scene that is open; empty for none."""
        more = f"<span class='scene'>{escape(scene)}</span>" if scene else ""
        self._title.object = f"<h1>georeset</h1>{more}"
        self._stem = "".join(c if c.isascii() and c.isalnum() else "-" for c in scene[:60]).strip("-") or "georeset"
        self._name_export()

    def say(self, text: str, *, warn: bool = False) -> None:
        """Tell the user something, in a corner; any text, shown as text. An empty one takes it away."""
        kind = "said warn" if warn else "said"
        close = "<button title='close' aria-label='close' onclick='this.parentElement.remove()'>×</button>"
        self._note.object = (
            f"<div role='status' class='{kind}'><span>{escape(text)}</span>{close}</div>" if text else ""
        )
        self._note.visible = bool(text)

    def allow(self, kinds: Sequence[str]) -> None:
        """Which exports there is something for now."""
        self._allowed = set(kinds)
        self._name_export()

    def add_uploader(self, widget: Any) -> None:
        """Put the button for uploads into the bar."""
        self._uploader[:] = [LocalIPyWidget(widget, margin=(0, 6), align="center")]

    _allowed: frozenset[str] | set[str] = frozenset()

    def _name_export(self) -> None:
        kind = self._kind.value
        ending = self._exports[kind][1]
        self._save.param.update(
            filename=f"{self._stem}-{kind}.{ending}", disabled=kind not in self._allowed, label="Download"
        )

    async def _export(self) -> BytesIO:
        return BytesIO(await self._actions.export(self._kind.value))

    # -- the rest -----------------------------------------------------------------------------------------------------

    def show_chooser(
        self, sources: Sequence[tuple[str, str]], rasters: Sequence[Raster], sensors: Sequence[str]
    ) -> None:
        """A list of scenes, (key, title), and of rasters that were uploaded."""
        self.show_title("")
        self._leave.visible = self._saving.visible = False
        cards: list[Any] = [
            _heading(
                "Choose a scene",
                "A scene is encoded when it is first opened. Everybody shares the result, nobody shares labels.",
            )
        ]
        for key, title in sources:
            button = pn.widgets.Button(
                label=title, stylesheets=[_CHROME], css_classes=["wide"], height=42, width=440, margin=(4, 0)
            )
            button.on_click(partial(_pressed, self._actions.open, key))
            cards.append(button)
        if rasters:
            cards += self._raster_cards(rasters, sensors)
        self._main[:] = [pn.Column(*cards, stylesheets=[_CARD], width=520, align="center")]

    def _raster_cards(self, rasters: Sequence[Raster], sensors: Sequence[str]) -> list[Any]:
        choices = {
            r.key: pn.widgets.Select(
                options={"Which sensor?": "", **{s: s for s in sensors}}, value=r.guess or "", width=190,
                stylesheets=[_CHROME], margin=(4, 0),
            )
            for r in rasters
        }  # fmt: skip
        button = pn.widgets.Button(
            label="Open as one scene", color="primary", stylesheets=[_CHROME], height=42, width=440, margin=(8, 0)
        )
        button.on_click(lambda _: self._actions.open_rasters({k: c.value for k, c in choices.items()}))
        rows = [
            pn.Row(
                pn.pane.HTML(f"<b>{escape(r.name)}</b><br>{escape(r.facts)}", width=246, stylesheets=[_CARD], margin=0),
                choices[r.key],
                margin=(2, 0),
            )
            for r in rasters
        ]
        return [
            _heading("Your uploads", "Rasters of one place; they are deleted when you close the page."),
            *rows,
            button,
        ]

    def show_progress(self, scene: str, what: str, share: float | None) -> None:
        """How far the encoding is; None where nobody knows."""
        if not isinstance(self._bar, pn.pane.HTML) or self._bar not in self._main.select():
            self.show_title("")
            self._leave.visible = self._saving.visible = False
            self._bar = pn.pane.HTML(stylesheets=[_CARD], width=440, margin=(28, 0, 8, 0))
            stop = pn.widgets.Button(label="Stop", stylesheets=[_CHROME], height=32, width=90, margin=0)
            stop.on_click(lambda _: self._actions.stop())
            self._main[:] = [pn.Column(self._bar, stop, stylesheets=[_CARD], width=520, align="center")]
        percent = "" if share is None else f"{100 * share:.0f} %"
        state = "class='bar unknown'" if share is None else f"class='bar' aria-valuenow='{100 * share:.0f}'"
        width = "" if share is None else f" style='width:{100 * share:.1f}%'"
        self._bar.object = (
            f"<h2>{escape(scene)}</h2><p>{escape(what)} <span class='soft'>{percent}</span></p>"
            f"<div role='progressbar' aria-valuemin='0' aria-valuemax='100' {state}><div{width}></div></div>"
        )

    _bar: Any = None

    def show_explorer(self, scene: str, widget: Any) -> None:
        """The explorer of a scene fills the page."""
        self.show_title(scene)
        self._leave.visible = self._saving.visible = True
        self._main[:] = [LocalIPyWidget(with_beacon(widget), sizing_mode="stretch_both", margin=(8, 10))]

    def clear(self) -> None:
        """Nothing is shown; whatever was there may be taken apart."""
        self._main[:] = []

    def show_end(self, text: str) -> None:
        """Nothing but a sentence: this page works no more."""
        self._leave.visible = self._saving.visible = False
        self._uploader[:] = []
        self._main[:] = [
            pn.Column(_heading("This page has ended", text), stylesheets=[_CARD], width=520, align="center")
        ]


def read_template() -> tuple[str, dict[str, str]]:
    """Jinja template of the document, on top of Panel's own, and its variables."""
    style = (_HERE / "page.css").read_text(encoding="utf-8")
    return (_HERE / "page.html").read_text(encoding="utf-8"), {"georeset_style": style}


def _pressed(act: Callable[[str], None], key: str, _event: Any) -> None:
    act(key)


def _heading(title: str, text: str) -> Any:
    return pn.pane.HTML(
        f"<h2>{escape(title)}</h2><p>{escape(text)}</p>", stylesheets=[_CARD], margin=(28, 0, 8, 0), width=440
    )


_BAR = ":host { background: var(--card, #fff); border-bottom: 1px solid var(--line, #dde3dd); padding: 0 8px; }"
_MAIN = ":host { overflow: auto; }"
_TITLE = (
    _FONT
    + """
h1 { display: inline; font-size: 16px; font-weight: 680; letter-spacing: -.01em; margin: 0; color: var(--accent, #0b6e5f); }
.scene { margin-left: 10px; color: var(--ink, #17201c); font-size: 14px; font-weight: 600; }
"""
)
_NOTE = (
    _FONT
    + """
:host { position: fixed; bottom: 14px; right: 14px; z-index: 1000; width: auto; height: auto; }
.said {
  display: flex; gap: 10px; align-items: start; max-width: min(560px, 88vw); padding: 10px 12px; border-radius: 8px;
  background: var(--card, #fff); color: var(--ink, #17201c); border: 1px solid var(--line, #dde3dd); font-size: 13px;
  line-height: 1.4; box-shadow: 0 6px 24px rgb(0 0 0 / 18%); overflow-wrap: anywhere;
}
.said.warn { border-left: 4px solid var(--warn, #8a3b00); }
button { border: 0; background: none; color: var(--soft, #56635c); font-size: 18px; line-height: 1; cursor: pointer; }
"""
)
_CARD = (
    _FONT
    + """
:host { color: var(--ink, #17201c); }
h2 { font-size: 18px; font-weight: 650; margin: 0 0 2px; color: var(--ink, #17201c); }
p { margin: 0 0 6px; color: var(--soft, #56635c); font-size: 13px; }
.soft { font-variant-numeric: tabular-nums; }
.bar { height: 8px; border-radius: 4px; background: var(--line, #dde3dd); overflow: hidden; }
.bar div { height: 100%; background: var(--accent, #0b6e5f); border-radius: 4px; transition: width .2s; }
.bar.unknown div { width: 30%; animation: slide 1.4s ease-in-out infinite alternate; }
@keyframes slide { from { margin-left: 0 } to { margin-left: 70% } }
@media (prefers-reduced-motion: reduce) { .bar.unknown div { animation: none; width: 100%; opacity: .4 } }
"""
)
