"""A browser reduced to its messages: Bokeh's protocol over a websocket, and the messages of ipywidgets inside it.

It sees what a page sends, presses buttons and clicks the map. It draws nothing, so a hundred of them fit on a machine.
"""

from __future__ import annotations

import asyncio
import html
import json
import re
import uuid
from typing import Any
from urllib.request import urlopen

from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

_TOKEN = re.compile(r'"token":\s*"([^"]+)"')


class Client:
    """One page of a dashboard. ``async with Client(host, key) as page: ...``

    Parameters
    ----------
    host : str
        Such as ``"127.0.0.1:5006"``.
    key : str
        Key of a workspace, as a browser keeps it; empty for a new one.
    """

    def __init__(self, host: str, key: str = "") -> None:
        self.host, self.key = host, key
        self.models: dict[str, dict[str, Any]] = {}
        """Bokeh models by id: type and attributes."""
        self.widgets: dict[str, dict[str, Any]] = {}
        """State of ipywidgets by id."""
        self.errors: list[str] = []
        self.heard = 0
        """Changes of widgets that the server has told."""
        self._socket: WebSocketClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._acknowledged = False

    async def __aenter__(self) -> Client:
        text = await asyncio.to_thread(self._page)
        token = _TOKEN.search(text)
        if token is None:
            raise AssertionError(f"the page of {self.host} has no token: {text[:200]!r}")
        request = HTTPRequest(f"ws://{self.host}/ws", headers={"Origin": f"http://{self.host}"}, request_timeout=120)
        self._socket = await websocket_connect(request, subprotocols=["bokeh", token[1]], max_message_size=1 << 28)
        self._reader = asyncio.create_task(self._read())
        await self.wait(lambda: self._acknowledged, "an acknowledgement")
        await self._send("PULL-DOC-REQ", {})
        await self.wait(lambda: self.named("asked"), "the document")
        await self._event("document_ready")  # Panel holds back what it has to say until it hears this
        await self.set(self.named("asked"), "value", json.dumps({"key": self.key}))
        await self.wait(lambda: self.models[self.named("issued")]["attributes"].get("value"), "a key")
        self.key = self.models[self.named("issued")]["attributes"]["value"]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._reader is not None
        assert self._socket is not None
        self._socket.close()
        self._reader.cancel()

    # -- what a user does ---------------------------------------------------------------------------------------------

    async def open(self, title: str) -> None:
        """Press the button of a scene."""
        await self.wait(lambda: self._button(title), f"the button {title!r}")
        await self._event("button_click", ["model", {"id": self._button(title)}])

    async def leave(self, title: str) -> None:
        """Go back to the list of scenes, of which one has this title."""
        before = self._button(title)
        await self._event("button_click", ["model", {"id": self._button("Other scene")}])
        await self.wait(lambda: self._button(title) != before, "the list of scenes")
        self.widgets.clear()  # of the explorer that was left

    async def click_map(self, lon: float, lat: float) -> None:
        """Click a place on the map."""
        content = {"event": "interaction", "type": "click", "coordinates": [lat, lon]}
        await self._custom(self.widget("LeafletMapModel"), content)

    async def press(self, text: str) -> None:
        """Press a button of the explorer."""
        await self._custom(self.widget("ButtonModel", description=text), {"event": "click"})

    async def fill(self, description: str, value: str) -> None:
        """Type into a field of the explorer."""
        field = self.widget("TextModel", description=description)
        await self._say(field, {"method": "update", "state": {"value": value}, "buffer_paths": []})

    # -- what a user sees ---------------------------------------------------------------------------------------------

    def text(self, mark: str) -> str:
        """What stands in the HTML element of an id, in any widget; empty if there is none."""
        for state in self.widgets.values():
            found = re.search(rf"id='{mark}'>([^<]*)<", str(state.get("value", "")))
            if found:
                return found[1]
        return ""

    def has(self, kind: str) -> bool:
        """Whether there is an ipywidget of a kind."""
        return any(found.get("_model_name") == kind for found in self.widgets.values())

    def panes(self) -> str:
        """All HTML that Panel shows, as the browser inserts it: Panel escapes once, and BokehJS takes that back."""
        return " ".join(html.unescape(str(m["attributes"].get("text", ""))) for m in self.models.values())

    async def see(self, mark: str, text: str, seconds: float = 60) -> None:
        """Wait until an element says something."""
        await self.wait(lambda: self.text(mark) == text, f"{mark} = {text}, not {self.text(mark)!r}", seconds)

    async def wait(self, true: Any, what: str, seconds: float = 60) -> None:
        """Wait until something holds, looking again after each message."""

        async def look() -> None:
            while not true():
                self._changed.clear()
                await self._changed.wait()

        try:
            await asyncio.wait_for(look(), seconds)
        except TimeoutError:
            raise AssertionError(f"no {what} within {seconds:g} s; panes: {self.panes()[:400]}") from None

    # -- models -------------------------------------------------------------------------------------------------------

    def named(self, name: str) -> str:
        """Id of the Bokeh model of a name, or an empty text."""
        return next((i for i, m in self.models.items() if m["attributes"].get("name") == name), "")

    def widget(self, kind: str, **state: Any) -> str:
        """Id of an ipywidget."""
        for key, found in self.widgets.items():
            if found.get("_model_name") == kind and all(found.get(k) == v for k, v in state.items()):
                return key
        raise AssertionError(f"no {kind} {state} among {[w.get('_model_name') for w in self.widgets.values()]}")

    async def set(self, model: str, attr: str, value: Any) -> None:
        """Change a property of a Bokeh model, as BokehJS does."""
        await self._patch({"kind": "ModelChanged", "model": {"id": model}, "attr": attr, "new": value})

    def _button(self, title: str) -> str:
        found = [i for i, m in self.models.items() if m["attributes"].get("label") == title]
        return found[-1] if found else ""  # those of a list that was shown before are gone

    # -- the protocol -------------------------------------------------------------------------------------------------

    def _page(self) -> str:
        with urlopen(f"http://{self.host}/", timeout=120) as answer:
            return answer.read().decode()

    async def _custom(self, widget: str, content: dict[str, Any]) -> None:
        await self._say(widget, {"method": "custom", "content": content})

    async def _say(self, widget: str, what: dict[str, Any]) -> None:
        header = {"msg_id": uuid.uuid4().hex, "msg_type": "comm_msg", "session": "", "username": "", "version": "5.2"}
        data = {"comm_id": widget, "data": what}
        message = {
            "channel": "shell",
            "header": header,
            "parent_header": {},
            "metadata": {},
            "content": data,
            "buffers": [],
        }
        event = {"kind": "MessageSent", "msg_type": "ipywidgets_bokeh", "msg_data": json.dumps(message)}
        await self._patch(event)

    async def _event(self, name: str, *entries: list[Any]) -> None:
        data = {"type": "event", "name": name, "values": {"type": "map", "entries": list(entries)}}
        await self._patch({"kind": "MessageSent", "msg_type": "bokeh_event", "msg_data": data})

    async def _patch(self, event: dict[str, Any]) -> None:
        await self._send("PATCH-DOC", {"events": [event]})

    async def _send(self, kind: str, content: dict[str, Any]) -> None:
        assert self._socket is not None
        for part in ({"msgid": uuid.uuid4().hex, "msgtype": kind}, {}, content):
            await self._socket.write_message(json.dumps(part))

    async def _read(self) -> None:
        try:
            await self._listen()
        except asyncio.CancelledError:
            raise
        except Exception as err:
            self.errors.append(f"{type(err).__name__}: {err}")
        self.errors.append("the connection has ended")
        self._changed.set()

    async def _listen(self) -> None:
        assert self._socket is not None
        while True:
            header = await self._socket.read_message()
            if header is None:
                return
            await self._socket.read_message()
            content = json.loads(await self._socket.read_message() or "null")
            head = json.loads(header)
            for _ in range(2 * head.get("num_buffers", 0)):
                await self._socket.read_message()
            self._acknowledged = True  # nothing is listened to before the first message
            if head["msgtype"] == "ERROR":
                self.errors.append(str(content)[:500])
            self._learn(content)
            for event in content.get("events", []) if isinstance(content, dict) else []:
                self._take(event)
            await self._light_up()
            self._changed.set()

    async def _light_up(self) -> None:
        """Say, as a browser does, that the widgets of a page have been drawn."""
        for key, found in self.widgets.items():
            if found.get("seen") == 0:
                found["seen"] = 1
                await self._say(key, {"method": "update", "state": {"seen": 1}, "buffer_paths": []})

    def _take(self, event: dict[str, Any]) -> None:
        if event["kind"] == "ModelChanged":
            self.models.get(event["model"]["id"], {"attributes": {}})["attributes"][event["attr"]] = event.get("new")
        elif event["kind"] == "MessageSent" and event.get("msg_type") == "ipywidgets_bokeh" and event.get("msg_data"):
            message = json.loads(event["msg_data"])
            content = message["content"]
            state = content.get("data", {}).get("state", {})
            self.heard += 1
            self.widgets.setdefault(content.get("comm_id", ""), {}).update(state)

    def _learn(self, node: Any) -> None:
        """Find models, and the widgets inside them, anywhere in a message."""
        if isinstance(node, list):
            for item in node:
                self._learn(item)
        elif isinstance(node, dict):
            if node.get("type") == "object" and "id" in node:
                attributes = dict(node.get("attributes", {}))
                self.models[node["id"]] = {"name": node["name"], "attributes": attributes}
                bundle = attributes.get("bundle")
                if bundle is not None:
                    self._unpack(_plain(bundle))
            for item in node.values():
                self._learn(item)

    def _unpack(self, bundle: dict[str, Any]) -> None:
        states = {**bundle["state"]["state"], **bundle["state"]["full_state"]}
        for key, found in states.items():
            self.widgets.setdefault(key, {}).update(_plain(found["state"]) | {"_model_name": found["model_name"]})


def _plain(node: Any) -> Any:
    """Bokeh's way of writing dictionaries, undone."""
    if isinstance(node, dict) and node.get("type") == "map":
        return {_plain(k): _plain(v) for k, v in node.get("entries", [])}
    if isinstance(node, dict):
        return {k: _plain(v) for k, v in node.items()}
    return [_plain(v) for v in node] if isinstance(node, list) else node
