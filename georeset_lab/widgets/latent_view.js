// What `LatentView` (latent_view.py) shows and hears; latent_points.js comes before it. Nothing is loaded or evaluated.

const LEFT = 46, BOTTOM = 36, TOP = 6, RIGHT = 8; // room for the axes, CSS pixels
const CLICK_PX = 10, DRAG_PX = 4, DOUBLE_MS = 350, MOVE_MS = 700, MOST_MOVED = 200000;

function make(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text; // never markup: names come from files
  return node;
}

function ticks(low, high, room) {
  const rough = (high - low) / Math.max(2, room), power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= rough), out = [];
  for (let i = Math.ceil(low / step); i * step <= high; i++) out.push(Number((i * step).toPrecision(6)));
  return out;
}

// Bar, classes or square, as text and swatches.
function drawLegend(node, legend) {
  node.replaceChildren(make("b", "", legend.title));
  if (legend.unit) node.append(make("small", "", legend.unit));
  if (legend.kind === "classes") {
    const list = make("ul");
    for (const [name, colour, count] of legend.entries) {
      const item = make("li"), swatch = make("i");
      swatch.style.background = colour;
      item.append(swatch, make("span", "", name), make("small", "", count.toLocaleString("en")));
      list.append(item);
    }
    node.append(list);
  } else if (legend.kind === "bar" && legend.colours.length) {
    const bar = make("i", "lv-scale"), ends = make("p");
    bar.style.setProperty("--lv-colours", legend.colours.join(","));
    ends.append(...legend.ticks.map((text) => make("span", "", text)));
    node.append(bar, ends);
  } else if (legend.kind === "square") {
    const square = make("canvas", "lv-square"), c = square.getContext("2d"), { side, colours } = legend;
    square.width = square.height = side;
    colours.forEach((colour, i) => { c.fillStyle = colour; c.fillRect(i % side, Math.floor(i / side), 1, 1); });
    const sides = make("p", "lv-sides");
    sides.append(make("span", "", "west"), make("span", "", "east"));
    node.append(make("small", "lv-north", "north"), square, sides);
  }
  if (legend.note) node.append(make("small", "", legend.note));
}

function render({ model, el }) {
  const style = make("style");
  style.textContent = model.get("css");
  const root = make("div", "lv");
  root.dataset.lmSuppressShortcuts = "true"; // JupyterLab's keys stay away while ours are used
  const bar = make("div", "lv-bar"), planes = make("span", "lv-group"), tools = make("span", "lv-group");
  const button = (text, title, does, name = text) => {
    const node = make("button", "", text);
    node.type = "button"; node.title = title; node.ariaLabel = name; node.addEventListener("click", does);
    return node;
  };
  const wants = (plane) => () => { model.set("plane", plane); model.save_changes(); };
  const pca = button("PCA", "Principal components: distances mean something", wants("pca"));
  const umap = button("UMAP", "Neighbours stay neighbours; distances between groups mean little", wants("umap"));
  planes.append(pca, umap);
  const label = make("label", "", "Colour"), select = make("select");
  label.append(select);
  select.addEventListener("change", () => { model.set("colour_by", select.value); model.save_changes(); });
  const lasso = button("Lasso", "Draw round points to select them (or hold Shift and drag)", () => hold(!holding));
  const clear = button("Clear", "Select nothing", () => model.send({ type: "clear" }), "Clear selection");
  const whole = button("Fit", "Show all points again (or double-click)", () => fit(true), "Whole picture");
  tools.append(lasso, whole);
  bar.append(planes, label, make("span", "lv-space"), clear, tools);
  const body = make("div", "lv-body"), plot = make("div", "lv-plot"), legend = make("div", "lv-legend");
  const base = make("canvas", "lv-points"), over = make("canvas", "lv-over"), busy = make("div", "lv-busy");
  over.tabIndex = 0; over.setAttribute("role", "img");
  const words = make("span"), stop = button("Stop", "Stay with PCA", () => model.send({ type: "stop" }));
  busy.append(make("i"), words, stop);
  plot.append(base, over, busy);
  body.append(plot, legend);
  const foot = make("div", "lv-foot"), note = make("span"), help = make("span");
  note.setAttribute("aria-live", "polite");
  help.textContent = "each dot is a pixel, near dots are alike · drag moves · wheel zooms · Shift and drag selects · click goes there";
  foot.append(note, help);
  root.append(bar, body, foot);
  el.append(style, root);

  const cloud = new Cloud(), pointers = new Map();
  let view = { k: 1, cx: 0, cy: 0 }, frame = model.get("frame"), ring = [], holding = false, line = null, gesture = null;
  let move = null, waiting = false, asked = 0, since = 0, image = null, tapped = -1e9, width = 0, height = 0, scale = 1, spent = 0;
  const density = () => (cloud.n > MOST_MOVED ? 1 : Math.min(2, window.devicePixelRatio || 1)); // a frame stays below 0.1 s
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");

  const screen = (x, y) => [width / 2 + (x - view.cx) * view.k, height / 2 - (y - view.cy) * view.k];
  const data = (px, py) => [view.cx + (px - width / 2) / view.k, view.cy - (py - height / 2) / view.k];

  function fitted(of) {
    const [x0, y0, x1, y1] = of.box, k = 0.92 * Math.min(width / Math.max(x1 - x0, 1e-9), height / Math.max(y1 - y0, 1e-9));
    return { k: Math.max(k, 1e-9), cx: (x0 + x1) / 2, cy: (y0 + y1) / 2, least: k };
  }

  function fit(draw) { view = fitted(frame); if (draw) redraw(); }

  function redraw() { if (!asked) asked = requestAnimationFrame(paint); }

  function paint(now) {
    asked = 0;
    if (!width || !height) return;
    if (move) step(now);
    const start = performance.now();
    const wide = Math.max(1, Math.round(width * scale)), high = Math.max(1, Math.round(height * scale));
    if (!image || image.width !== wide || image.height !== high) {
      base.width = wide; base.height = high; image = new ImageData(wide, high);
    }
    cloud.paint({ ...view, k: view.k * scale }, image, scale, Number(getComputedStyle(root).getPropertyValue("--lv-faded")));
    base.getContext("2d").putImageData(image, 0, 0);
    overlay();
    spent = performance.now() - start;
    root.dataset.paintMs = spent.toFixed(1); root.dataset.painted = frame.kind + (move ? "…" : "");
    if (move) redraw();
  }

  // From the picture that is shown to the new one: old places are carried over to the new coordinates first.
  function step(now) {
    move.start ??= now;
    const t = Math.min(1, (now - move.start) / MOVE_MS), e = t * t * (3 - 2 * t), { x0, y0, x1, y1 } = move;
    for (let i = 0; i < cloud.n; i++) { cloud.x[i] = x0[i] + (x1[i] - x0[i]) * e; cloud.y[i] = y0[i] + (y1[i] - y0[i]) * e; }
    if (move.ring0 && move.ring1) ring = [0, 1].map((j) => move.ring0[j] + (move.ring1[j] - move.ring0[j]) * e);
    if (t === 1) { cloud.x = x1; cloud.y = y1; ring = model.get("ring"); move = null; }
  }

  function overlay() {
    over.width = Math.round((width + LEFT + RIGHT) * scale); over.height = Math.round((height + TOP + BOTTOM) * scale);
    const c = over.getContext("2d"), css = getComputedStyle(root), ink = css.getPropertyValue("--lv-soft").trim();
    c.scale(scale, scale); c.translate(LEFT, TOP);
    c.font = `11px ${css.fontFamily}`; c.fillStyle = ink; c.strokeStyle = css.getPropertyValue("--lv-line").trim();
    c.strokeRect(0.5, 0.5, width - 1, height - 1);
    if (frame.unit) {
      const [xl, yl] = data(0, height), [xh, yh] = data(width, 0);
      c.textAlign = "center"; c.textBaseline = "top";
      for (const v of ticks(xl, xh, width / 90)) c.fillText(String(v).replace("-", "−"), screen(v, 0)[0], height + 4), mark(c, screen(v, 0)[0], height, 0, -4);
      c.textAlign = "right"; c.textBaseline = "middle";
      for (const v of ticks(yl, yh, height / 60)) c.fillText(String(v).replace("-", "−"), -5, screen(0, v)[1]), mark(c, 0, screen(0, v)[1], 4, 0);
    }
    c.font = `12px ${css.fontFamily}`; c.textAlign = "center"; c.textBaseline = "alphabetic";
    c.fillText(named(c, 0, width), width / 2, height + (frame.unit ? 30 : 18));
    c.save(); c.translate(frame.unit ? 13 - LEFT : -10, height / 2); c.rotate(-Math.PI / 2); c.fillText(named(c, 1, height), 0, 0); c.restore();
    c.save(); c.beginPath(); c.rect(0, 0, width, height); c.clip();
    if (ring.length === 2) {
      const [px, py] = screen(...ring);
      for (const [colour, thick] of [["#000", 5], ["#fff", 2.2]]) {
        c.strokeStyle = colour; c.lineWidth = thick; c.beginPath(); c.arc(px, py, 8, 0, 7); c.stroke();
      }
    }
    if (line) {
      c.beginPath(); line.forEach(([px, py], i) => (i ? c.lineTo(px, py) : c.moveTo(px, py))); c.closePath();
      c.fillStyle = "rgb(255 93 143 / 14%)"; c.fill();
      for (const [colour, thick] of [["#fff", 3.5], ["#d81b60", 1.6]]) { c.strokeStyle = colour; c.lineWidth = thick; c.stroke(); }
    }
    c.restore();
  }

  // Name of an axis, with its unit if there is room.
  function named(c, axis, room) {
    const name = (frame.axes || ["", ""])[axis], whole = `${name}, ${frame.unit || "no unit"}`;
    return name && (c.measureText(whole).width < room ? whole : name);
  }

  function mark(c, px, py, dx, dy) { c.beginPath(); c.moveTo(px, py); c.lineTo(px + dx, py + dy); c.stroke(); }

  function zoom(px, py, factor) {
    const [x, y] = data(px, py), least = 0.4 * (view.least || view.k), k = Math.min(200 * least, Math.max(least, view.k * factor));
    view = { ...view, k, cx: x - (px - width / 2) / k, cy: y + (py - height / 2) / k };
    redraw();
  }

  function hold(on) { holding = on; lasso.setAttribute("aria-pressed", on); over.classList.toggle("lv-drawing", on); }

  function at(event) {
    const box = over.getBoundingClientRect();
    return [event.clientX - box.left - LEFT, event.clientY - box.top - TOP];
  }

  over.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || move) return;
    over.setPointerCapture(event.pointerId); root.dataset.pointed = ""; over.focus({ preventScroll: true });
    pointers.set(event.pointerId, at(event));
    line = null;
    gesture = { from: at(event), drawing: pointers.size === 1 && (holding || event.shiftKey), moved: false, second: event.timeStamp - tapped < DOUBLE_MS };
    if (pointers.size > 1) gesture.moved = true;
    event.preventDefault();
  });
  over.addEventListener("pointermove", (event) => {
    if (!gesture || !pointers.has(event.pointerId)) return;
    const now = at(event), old = pointers.get(event.pointerId);
    pointers.set(event.pointerId, now);
    if (!gesture.moved && Math.hypot(now[0] - gesture.from[0], now[1] - gesture.from[1]) < DRAG_PX) return;
    if (!gesture.moved && gesture.drawing) line = [gesture.from];
    gesture.moved = true;
    if (pointers.size === 2) {
      const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
      const apart = (a) => Math.max(10, Math.hypot(a[0] - other[0], a[1] - other[1]));
      zoom((now[0] + other[0]) / 2, (now[1] + other[1]) / 2, apart(now) / apart(old));
      pan((now[0] - old[0]) / 2, (now[1] - old[1]) / 2);
    } else if (gesture.drawing && line) {
      const last = line[line.length - 1];
      if (Math.hypot(now[0] - last[0], now[1] - last[1]) > 2) line.push(now);
      asked || overlay();
    } else {
      pan(now[0] - old[0], now[1] - old[1]);
    }
  });
  function pan(dx, dy) { view = { ...view, cx: view.cx - dx / view.k, cy: view.cy + dy / view.k }; redraw(); }
  function release(event, counts) {
    if (!pointers.delete(event.pointerId) || pointers.size || !gesture) return;
    const { moved, second, from } = gesture;
    gesture = null;
    if (counts && line && line.length > 2) {
      model.send({ type: "lasso", line: line.map(([px, py]) => data(px, py)) });
    } else if (counts && !moved && !second) {
      tapped = event.timeStamp;
      const index = cloud.nearest(view, width, height, ...from, CLICK_PX);
      if (index >= 0) model.send({ type: "click", index });
    }
    line = null;
    if (waiting) takePoints(); else overlay();
  }
  over.addEventListener("pointerup", (event) => release(event, true));
  over.addEventListener("pointercancel", (event) => release(event, false));
  over.addEventListener("blur", () => delete root.dataset.pointed);
  over.addEventListener("dblclick", () => fit(true));
  over.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(...at(event), Math.exp(-Math.max(-240, Math.min(240, event.deltaY * (event.deltaMode ? 30 : 1))) / 480));
  }, { passive: false });
  over.addEventListener("keydown", (event) => {
    const does = {
      "+": () => zoom(width / 2, height / 2, 1.3), "=": () => zoom(width / 2, height / 2, 1.3), "-": () => zoom(width / 2, height / 2, 1 / 1.3),
      0: () => fit(true), Escape: () => (line ? ((line = null), (gesture = null), overlay()) : model.send({ type: "clear" })),
      ArrowLeft: () => pan(40, 0), ArrowRight: () => pan(-40, 0), ArrowUp: () => pan(0, 40), ArrowDown: () => pan(0, -40),
    }[event.key];
    if (does && !event.ctrlKey && !event.metaKey && !event.altKey) { does(); event.preventDefault(); event.stopPropagation(); }
  });

  function takePoints() {
    if (gesture) { waiting = true; return; } // not under a hand that is drawing
    waiting = false;
    const before = { x: cloud.x, y: cloud.y, n: cloud.n, view, ring }, first = !cloud.n;
    if (move) before.ring = ring;
    frame = model.get("frame");
    cloud.place(model.get("points"), frame);
    scale = density();
    if (frame.box) fit(false); // else there is no point yet
    ring = model.get("ring"); move = null;
    const animate = !first && before.n === cloud.n && cloud.n <= MOST_MOVED && !still.matches && width && spent < 60;
    if (animate) {
      const carry = (v, old, now) => now + (v - old) * (before.view.k / view.k);
      const x0 = before.x.map((v) => carry(v, before.view.cx, view.cx)), y0 = before.y.map((v) => carry(v, before.view.cy, view.cy));
      const ring0 = before.ring.length ? [carry(before.ring[0], before.view.cx, view.cx), carry(before.ring[1], before.view.cy, view.cy)] : null;
      move = { x0, y0, x1: cloud.x, y1: cloud.y, ring0, ring1: ring.length ? ring : null };
      cloud.x = x0.slice(); cloud.y = y0.slice();
    }
    over.setAttribute("aria-label", `${cloud.n} points, ${(frame.axes || []).join(" and ")}`);
    redraw();
  }
  function takeMarks() {
    const text = model.get("marked");
    cloud.mark = text ? bytes(text) : null;
    clear.hidden = !text;
    redraw();
  }
  function takeColours() { cloud.tint(model.get("colours"), model.get("palette"), model.get("legend").kind === "bar"); drawLegend(legend, model.get("legend")); redraw(); }
  function takeRing() { if (!move && !waiting) ring = model.get("ring"); redraw(); }
  function takeWords() {
    for (const [node, plane] of [[pca, "pca"], [umap, "umap"]]) node.setAttribute("aria-pressed", model.get("plane") === plane);
    note.textContent = model.get("note");
    const text = model.get("busy");
    if (text && !since) since = performance.now();
    if (!text) since = 0;
    busy.hidden = !text;
    tell();
  }
  function tell() { const text = model.get("busy"); if (text) words.textContent = `${text} … ${Math.round((performance.now() - since) / 1000)} s`; }
  function takeChoices() {
    select.replaceChildren(...model.get("choices").map(([key, text]) => {
      const option = make("option", "", text);
      option.value = key;
      return option;
    }));
    select.value = model.get("colour_by");
  }

  const clock = setInterval(tell, 1000);
  const sized = new ResizeObserver(() => {
    const w = Math.round(plot.clientWidth - LEFT - RIGHT), h = Math.round(plot.clientHeight - TOP - BOTTOM);
    if (w < 40 || h < 40 || (w === width && h === height && scale === density())) return;
    const zoomed = width ? view.k / fitted(frame).k : 1, { cx, cy } = view, moved = width > 0;
    width = w; height = h; scale = density();
    Object.assign(base.style, { left: `${LEFT}px`, top: `${TOP}px`, width: `${w}px`, height: `${h}px` });
    if (frame.box) { fit(false); if (moved) view = { ...view, k: view.k * zoomed, cx, cy }; }
    paint(performance.now());
  });
  const height_ = () => { plot.style.height = `${model.get("height")}px`; };
  const watched = [["points", takePoints], ["frame", takePoints], ["marked", takeMarks], ["colours", takeColours], ["palette", takeColours], ["legend", takeColours],
    ["ring", takeRing], ["plane", takeWords], ["busy", takeWords], ["note", takeWords], ["choices", takeChoices], ["colour_by", takeChoices], ["height", height_]];
  // One message changes several traits: what depends on them is done once, after all have changed.
  const soon = new Map(watched.map(([, does]) => {
    let due = false;
    return [does, () => { if (!due) { due = true; queueMicrotask(() => { due = false; does(); }); } }];
  }));
  for (const [name, does] of watched) model.on(`change:${name}`, soon.get(does));
  const shade = window.matchMedia("(prefers-color-scheme: dark)"), themed = new MutationObserver(() => redraw());
  shade.addEventListener("change", redraw);
  themed.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-name", "class"] });
  hold(false); height_(); takeChoices(); takeColours(); takePoints(); takeMarks(); takeWords();
  sized.observe(plot);
  return () => {
    clearInterval(clock); cancelAnimationFrame(asked); sized.disconnect(); themed.disconnect();
    shade.removeEventListener("change", redraw);
    for (const [name, does] of watched) model.off(`change:${name}`, soon.get(does));
  };
}

export default { render };
