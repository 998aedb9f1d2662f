"use strict";
// The map and the latent space of one exploration. One list of pixels: each has a place on the map, one in every plane
// of the latent space, a colour in every layer. A click chooses one, a brush some. No text of the data becomes markup.
(() => {
  const root = document.getElementById("linked");
  if (!root) return;
  const data = JSON.parse(document.getElementById("page-data").textContent).linked;
  const $ = (what) => root.querySelector(what);
  const act = (what) => $(`[data-do="${what}"]`);
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const rgb = (hex) => bytesOfHex(hex);
  function bytesOfHex(hex) {
    const out = new Uint8Array(hex.length / 2);
    for (let i = 0; i < out.length; i++) out[i] = parseInt(hex.substr(2 * i, 2), 16);
    return out;
  }
  const words = (text) => new Uint16Array(bytes(text).buffer);
  const n = data.n, V = data.view;
  const pixels = new Uint32Array(bytes(data.pixels).buffer), at = words(data.at);
  const layers = data.layers.map((l) => ({ ...l, codes: bytes(l.codes), palette: l.palette ? rgb(l.palette) : null }));
  const planes = data.latent.map((p) => ({ ...p, at: words(p.at) }));
  const vectors = data.vectors && { ...data.vectors, codes: new Int8Array(bytes(data.vectors.codes).buffer) };
  const known = data.known && { ...data.known, codes: bytes(data.known.codes), palette: rgb(data.known.palette) };
  const state = { layer: null, plane: planes[planes.length - 1], opacity: 1, labels: true, point: data.point, chosen: null, tool: "brush" };
  if (data.selected) {
    const bits = bytes(data.selected);
    state.chosen = Uint8Array.from({ length: n }, (_, i) => (bits[i >> 3] >> (i & 7)) & 1);
  }
  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();

  // -- colours --------------------------------------------------------------------------------------------------------

  function paintOf(i, out) {
    const { codes, palette } = state.layer;
    if (!palette) { out[0] = codes[3 * i]; out[1] = codes[3 * i + 1]; out[2] = codes[3 * i + 2]; return true; }
    const c = codes[i];
    out[0] = palette[3 * c]; out[1] = palette[3 * c + 1]; out[2] = palette[3 * c + 2];
    return c > 0;
  }
  function valueOf(layer, i) {
    if (!layer.palette) return "";
    const c = layer.codes[i];
    if (!c) return "no value";
    if (layer.words.length) return layer.words[c - 1];
    if (!layer.limits) return "";
    const [low, high] = layer.limits, v = low + ((c - 1) / 254) * (high - low);
    return `${c === 255 ? "≥ " : ""}${v.toFixed(Math.abs(high) < 10 ? 2 : 1)}${layer.unit ? " " + layer.unit : ""}`;
  }

  // -- a canvas that moves and zooms ----------------------------------------------------------------------------------

  class Pane {
    constructor(canvas, width, height) {
      this.canvas = canvas; this.w = width; this.h = height;
      this.pen = canvas.getContext("2d", { willReadFrequently: true });
      this.home();
      canvas.addEventListener("wheel", (e) => {
        e.preventDefault();
        const [x, y] = this.where(e), [u, v] = this.back(x, y), f = Math.exp(-e.deltaY * 0.0015);
        this.k = Math.min(60, Math.max(1, this.k * f));
        const [x2, y2] = this.to(u, v);
        this.x += x - x2; this.y += y - y2;
        this.keep(); this.draw();
      }, { passive: false });
      new ResizeObserver(() => this.fit()).observe(canvas);
    }
    fit() {
      const r = this.canvas.getBoundingClientRect(), d = window.devicePixelRatio || 1;
      const w = Math.max(1, Math.round(r.width * d)), h = Math.max(1, Math.round(r.height * d));
      if (w !== this.canvas.width || h !== this.canvas.height) { this.canvas.width = w; this.canvas.height = h; }
      this.d = d;
      this.draw();
    }
    home() { this.k = 1; this.x = 0; this.y = 0; }
    keep() { if (this.k === 1) this.x = this.y = 0; }
    get scale() { return this.k * Math.min(this.canvas.width / this.w, this.canvas.height / this.h); }
    to(u, v) { const s = this.scale; return [this.canvas.width / 2 + this.x + (u - this.w / 2) * s, this.canvas.height / 2 + this.y + (v - this.h / 2) * s]; }
    back(x, y) { const s = this.scale; return [(x - this.x - this.canvas.width / 2) / s + this.w / 2, (y - this.y - this.canvas.height / 2) / s + this.h / 2]; }
    where(e) { const r = this.canvas.getBoundingClientRect(); return [(e.clientX - r.left) * this.d, (e.clientY - r.top) * this.d]; }
    draw() { if (!this.waiting) { this.waiting = true; requestAnimationFrame(() => { this.waiting = false; this.render(); }); } }
    render() {}
    /** Click, or drag by the handlers; `drag` gets the start and the present place in pixels of the canvas. */
    gestures({ click, drag, done }) {
      let from = null, last = null, far = false;
      this.canvas.addEventListener("pointerdown", (e) => { if (e.button) return; from = last = this.where(e); far = false; this.canvas.setPointerCapture(e.pointerId); });
      this.canvas.addEventListener("pointermove", (e) => {
        if (!from) return;
        const here = this.where(e);
        far ||= Math.hypot(here[0] - from[0], here[1] - from[1]) > 5 * this.d;
        if (far) drag(here, last, e);
        last = here;
      });
      const end = (e) => { if (!from) return; if (far) done(e); else if (e.type === "pointerup") click(from); from = null; };
      this.canvas.addEventListener("pointerup", end);
      this.canvas.addEventListener("pointercancel", end);
    }
    slide(here, last) { this.x += here[0] - last[0]; this.y += here[1] - last[1]; this.draw(); }
  }

  // -- map ------------------------------------------------------------------------------------------------------------

  const map = new Pane($(".lk-map"), V.w, V.h);
  const tint = document.createElement("canvas");
  tint.width = V.w; tint.height = V.h;
  let index = null, scene = null;
  const mapX = (i) => (at[2 * i] / 65535) * V.w, mapY = (i) => (at[2 * i + 1] / 65535) * V.h;

  function fill() {
    if (!state.layer) return;
    const pen = tint.getContext("2d"), image = pen.createImageData(V.w, V.h), out = image.data, c = [0, 0, 0];
    if (index) {
      for (let p = 0; p < index.length; p++) {
        const i = index[p] - 1;
        if (i < 0 || !paintOf(i, c)) continue;
        out[4 * p] = c[0]; out[4 * p + 1] = c[1]; out[4 * p + 2] = c[2];
        out[4 * p + 3] = !state.chosen || state.chosen[i] ? 255 : 46;
      }
    }
    pen.putImageData(image, 0, 0);
  }
  function discs(pen, r) {
    const c = [0, 0, 0], [low, high] = state.chosen ? [0, 1] : [0, 0];
    for (let turn = low; turn <= high; turn++) {
      for (let i = 0; i < n; i++) {
        if (state.chosen && state.chosen[i] !== turn) continue;
        const there = paintOf(i, c);
        const [x, y] = map.to(mapX(i), mapY(i));
        if (x < -r || y < -r || x > map.canvas.width + r || y > map.canvas.height + r) continue;
        pen.globalAlpha = (state.chosen && !turn ? 0.15 : 1) * state.opacity;
        pen.fillStyle = there ? `rgb(${c[0]},${c[1]},${c[2]})` : "rgb(150,160,155)";
        pen.fillRect(x - r, y - r, 2 * r, 2 * r);
      }
    }
    pen.globalAlpha = 1;
  }
  const lonOf = (u) => ((V.left + (u / V.w) * (V.right - V.left)) / 6378137) * (180 / Math.PI);
  const latOf = (v) => Math.atan(Math.sinh((V.top - (v / V.h) * (V.top - V.bottom)) / 6378137)) * (180 / Math.PI);
  const uOf = (lon) => (((lon * Math.PI) / 180) * 6378137 - V.left) / (V.right - V.left) * V.w;
  const vOf = (lat) => (V.top - Math.asinh(Math.tan((lat * Math.PI) / 180)) * 6378137) / (V.top - V.bottom) * V.h;
  function round(least) {
    const power = 10 ** Math.floor(Math.log10(least));
    return [1, 2, 5, 10].map((s) => s * power).find((s) => s >= least * 0.999);
  }
  const degrees = (v, step, plus, minus) => {
    const text = Math.abs(v).toFixed(Math.max(0, -Math.floor(Math.log10(step) + 1e-9)));
    return Number(text) === 0 ? "0°" : `${text}° ${v > 0 ? plus : minus}`;
  };
  function text(pen, words, x, y, align) {
    pen.font = `600 ${11 * map.d}px system-ui, sans-serif`;
    pen.textAlign = align; pen.lineJoin = "round"; pen.lineWidth = 3 * map.d;
    pen.strokeStyle = "rgba(255,255,255,.85)"; pen.strokeText(words, x, y);
    pen.fillStyle = "#17201c"; pen.fillText(words, x, y);
  }
  function graticule(pen, W, H, d) {
    const [u0, v0] = map.back(0, 0), [u1, v1] = map.back(W, H);
    const west = lonOf(u0), east = lonOf(u1), north = latOf(v0), south = latOf(v1);
    const across = round(((east - west) * 130 * d) / W), down = round(((north - south) * 110 * d) / H);
    const lines = new Path2D(), names = [];
    for (let k = Math.ceil(west / across); k * across <= east; k++) {
      const x = map.to(uOf(k * across), 0)[0];
      lines.moveTo(x, 0); lines.lineTo(x, H);
      if (x > 50 * d && x < W - 70 * d) names.push([degrees(k * across, across, "E", "W"), x, 14 * d, "center"]);
    }
    for (let k = Math.ceil(south / down); k * down <= north; k++) {
      const y = map.to(0, vOf(k * down))[1];
      lines.moveTo(0, y); lines.lineTo(W, y);
      if (y > 26 * d && y < H - 26 * d) names.push([degrees(k * down, down, "N", "S"), W - 6 * d, y - 4 * d, "right"]);
    }
    pen.strokeStyle = "rgba(0,0,0,.2)"; pen.lineWidth = 2.2 * d; pen.stroke(lines);
    pen.strokeStyle = "rgba(255,255,255,.6)"; pen.lineWidth = 0.9 * d; pen.stroke(lines);
    for (const name of names) text(pen, ...name);
  }
  function scaleBar(pen, H, d) {
    const middle = latOf(map.back(0, H / 2)[1]);
    const metres = ((V.right - V.left) / V.w / map.scale) * Math.cos((middle * Math.PI) / 180); // of one pixel on the screen
    const length = round(metres * 60 * d), px = length / metres;
    pen.strokeStyle = "#fff"; pen.lineWidth = 5 * d; pen.lineCap = "butt";
    const line = () => { pen.beginPath(); pen.moveTo(12 * d, H - 18 * d); pen.lineTo(12 * d, H - 12 * d); pen.lineTo(12 * d + px, H - 12 * d); pen.lineTo(12 * d + px, H - 18 * d); pen.stroke(); };
    line(); pen.strokeStyle = "#17201c"; pen.lineWidth = 2 * d; line();
    text(pen, length >= 1000 ? `${length / 1000} km` : `${length} m`, 12 * d + px / 2, H - 20 * d, "center");
  }
  function labels(pen, d) {
    for (const label of data.labels) {
      const spots = label.at.map(([u, v]) => map.to(u * V.w, v * V.h));
      pen.fillStyle = /^#[0-9a-f]{6}$/i.test(label.colour) ? label.colour : "#7b867f";
      pen.beginPath();
      if (label.closed) {
        spots.forEach(([x, y], i) => (i ? pen.lineTo(x, y) : pen.moveTo(x, y)));
        pen.closePath();
        pen.strokeStyle = pen.fillStyle; pen.lineWidth = 3 * d; pen.stroke();
        pen.globalAlpha = 0.25; pen.fill(); pen.globalAlpha = 1;
      } else {
        pen.arc(...spots[0], 5.5 * d, 0, 7); pen.fill();
        pen.strokeStyle = "#fff"; pen.lineWidth = 2 * d; pen.stroke();
      }
    }
  }
  function ring(pen, x, y, d) {
    for (const [c, w] of [["#101815", 5], ["#ffffff", 2]]) { pen.strokeStyle = c; pen.lineWidth = w * d; pen.beginPath(); pen.arc(x, y, 9 * d, 0, 7); pen.stroke(); }
  }
  map.render = () => {
    const { pen, canvas, d } = map, W = canvas.width, H = canvas.height;
    pen.fillStyle = colour("--frame"); pen.fillRect(0, 0, W, H);
    pen.imageSmoothingEnabled = false;
    const [x, y] = map.to(0, 0), w = V.w * map.scale, h = V.h * map.scale;
    if (scene) pen.drawImage(scene, x, y, w, h);
    if (index) { pen.globalAlpha = state.opacity; pen.drawImage(tint, x, y, w, h); pen.globalAlpha = 1; }
    else if (state.layer) discs(pen, Math.min(6, 1.6 * Math.sqrt(map.k)) * d);
    graticule(pen, W, H, d); scaleBar(pen, H, d);
    if (state.labels) labels(pen, d);
    if (state.point >= 0) ring(pen, ...map.to(mapX(state.point), mapY(state.point)), d);
    root.dataset.painted = state.layer ? state.layer.key : "";
  };
  map.gestures({
    click: ([x, y]) => choose(pixelAt(x, y)),
    drag: (here, last) => map.slide(here, last),
    done: () => {},
  });
  function pixelAt(x, y) {
    const [u, v] = map.back(x, y);
    if (index) {
      const c = Math.floor(u), r = Math.floor(v);
      return c < 0 || r < 0 || c >= V.w || r >= V.h ? -1 : index[r * V.w + c] - 1;
    }
    return nearest(x, y, (i) => map.to(mapX(i), mapY(i)), 14 * map.d);
  }
  function nearest(x, y, place, within) {
    let best = -1, least = within * within;
    for (let i = 0; i < n; i++) {
      const [a, b] = place(i), far = (a - x) ** 2 + (b - y) ** 2;
      if (far < least) { least = far; best = i; }
    }
    return best;
  }

  // -- latent space ---------------------------------------------------------------------------------------------------

  const EDGE = 30; // CSS pixels kept for the names of the axes
  const latent = new Pane($(".lk-latent"), 1, 1);
  let lasso = null;
  const box = () => state.plane.box;
  const span = () => Math.max(box()[2] - box()[0], box()[3] - box()[1]) || 1;
  function latentAt(i) { // as fractions of the square that the plane is drawn in
    const p = state.plane, s = span();
    const x = p.origin[0] + p.at[2 * i] * p.step, y = p.origin[1] + p.at[2 * i + 1] * p.step;
    return [0.5 + (0.94 * (x - (box()[0] + box()[2]) / 2)) / s, 0.5 - (0.94 * (y - (box()[1] + box()[3]) / 2)) / s];
  }
  const spot = (i) => latent.to(...latentAt(i));
  latent.render = () => {
    const { pen, canvas, d } = latent, W = canvas.width, H = canvas.height;
    pen.fillStyle = colour("--card"); pen.fillRect(0, 0, W, H);
    if (!state.layer) return;
    const image = pen.getImageData(0, 0, W, H), out = new Uint32Array(image.data.buffer), c = [0, 0, 0];
    const back = out[0], side = Math.max(1, Math.round((n > 20000 ? 1.4 : 2.4) * d * Math.min(2, Math.sqrt(latent.k))));
    const faint = (v, b) => Math.round(b + (v - b) * 0.16);
    for (let turn = state.chosen ? 0 : 1; turn < 2; turn++) {
      for (let i = 0; i < n; i++) {
        if (state.chosen && state.chosen[i] !== turn) continue;
        const [fx, fy] = spot(i), x = Math.round(fx - side / 2), y = Math.round(fy - side / 2);
        if (x < 0 || y < 0 || x + side > W || y + side > H) continue;
        if (!paintOf(i, c)) c[0] = c[1] = c[2] = 152;
        if (state.chosen && !turn) { c[0] = faint(c[0], back & 255); c[1] = faint(c[1], (back >> 8) & 255); c[2] = faint(c[2], (back >> 16) & 255); }
        const word = (255 << 24) | (c[2] << 16) | (c[1] << 8) | c[0];
        for (let r = y; r < y + side; r++) out.fill(word, r * W + x, r * W + x + side);
      }
    }
    pen.putImageData(image, 0, 0);
    pen.fillStyle = colour("--soft"); pen.font = `${12 * d}px system-ui, sans-serif`;
    pen.textAlign = "right"; pen.fillText(`${state.plane.axes[0]} →`, W - 8 * d, H - 8 * d);
    pen.save(); pen.translate(14 * d, 8 * d); pen.rotate(-Math.PI / 2); pen.fillText(`${state.plane.axes[1]} →`, 0, 0); pen.restore();
    if (state.point >= 0) ring(pen, ...spot(state.point), d);
    if (lasso) {
      pen.beginPath(); lasso.forEach(([x, y], i) => (i ? pen.lineTo(x, y) : pen.moveTo(x, y))); pen.closePath();
      pen.fillStyle = "rgba(255,93,143,.14)"; pen.fill(); pen.strokeStyle = "#ff5d8f"; pen.lineWidth = 2 * d; pen.stroke();
    }
    root.dataset.plane = state.plane.kind;
  };
  latent.gestures({
    click: ([x, y]) => choose(nearest(x, y, spot, 12 * latent.d)),
    drag: (here, last, e) => {
      if ((state.tool === "move") !== e.shiftKey && !lasso) latent.slide(here, last);
      else { (lasso ||= [last]).push(here); latent.draw(); }
    },
    done: () => { if (lasso) { brush(lasso); lasso = null; } latent.draw(); },
  });
  function within(line, x, y) {
    let inside = false;
    for (let a = 0, b = line.length - 1; a < line.length; b = a++) {
      const [xa, ya] = line[a], [xb, yb] = line[b];
      if (ya > y !== yb > y && x < ((xb - xa) * (y - ya)) / (yb - ya) + xa) inside = !inside;
    }
    return inside;
  }
  function brush(line) {
    const chosen = Uint8Array.from({ length: n }, (_, i) => within(line, ...spot(i)));
    select(chosen.includes(1) ? chosen : null);
  }

  // -- what is chosen -------------------------------------------------------------------------------------------------

  function redraw() { fill(); map.draw(); latent.draw(); }
  function select(chosen) {
    state.chosen = chosen;
    let count = 0;
    if (chosen) for (let i = 0; i < n; i++) count += chosen[i];
    root.dataset.selected = count;
    act("clear").disabled = !chosen;
    $(".lk-count").textContent = chosen ? `${count.toLocaleString("en")} of ${n.toLocaleString("en")} brushed` : "";
    redraw();
  }
  function choose(i) {
    if (i < 0) return;
    state.point = i;
    root.dataset.point = pixels[i];
    if (act("like")) act("like").disabled = false;
    profile(i);
    map.draw(); latent.draw();
  }
  function show(key) {
    state.layer = layers.find((l) => l.key === key) || layers[0];
    act("layer").value = state.layer.key;
    for (const legend of root.querySelectorAll("[data-legend]")) legend.hidden = legend.dataset.legend !== state.layer.key;
    root.dataset.layer = state.layer.key;
    redraw();
  }
  function element(tag, words, name) {
    const made = document.createElement(tag);
    if (words !== undefined) made.textContent = words;
    if (name) made.className = name;
    return made;
  }
  function profile(i) {
    const [u, v] = [mapX(i), mapY(i)], fine = Math.max(0, Math.min(6, Math.ceil(-Math.log10((lonOf(V.w) - lonOf(0)) / V.w / 2))));
    const card = $(".lk-profile"), row = Math.floor(pixels[i] / data.width), col = pixels[i] % data.width;
    const head = element("figcaption");
    const lat = latOf(v), lon = lonOf(u);
    head.append(element("b", `${Math.abs(lat).toFixed(fine)}° ${lat < 0 ? "S" : "N"}, ${Math.abs(lon).toFixed(fine)}° ${lon < 0 ? "W" : "E"}`),
      element("span", data.points ? `point ${pixels[i]}` : `row ${row}, column ${col}`));
    const given = new Set(data.labels.filter((l) => {
      const spots = l.at.map(([a, b]) => [a * V.w, b * V.h]);
      return l.closed ? within(spots, u, v) : Math.hypot(spots[0][0] - u, spots[0][1] - v) <= (index ? 1.5 : 0.5);
    }).map((l) => l.label));
    const facts = element("dl"), bars = element("div", undefined, "lk-bars");
    if (given.size) facts.append(element("dt", "Label"), element("dd", [...given].join(", ")));
    for (const layer of layers) {
      const value = valueOf(layer, i);
      if (!value || (layer.key === "like" && !layer.codes[i])) continue;
      if (layer.key.startsWith("certainty")) {
        const c = layer.codes[i], bar = element("i"), line = element("div");
        bar.style.width = `${c ? (100 * (c - 1)) / 254 : 0}%`;
        line.append(element("span", layer.name), element("u"), element("b", data.stated ? value : "unknown"));
        line.querySelector("u").append(bar);
        bars.append(line);
      } else facts.append(element("dt", layer.name), element("dd", value));
    }
    card.replaceChildren(head, facts);
    if (data.stated) {
      const top = (layers.find((l) => l.key === "certainty").limits || [0, 1])[1];
      card.append(element("h4", `Certainty, 1 − variance, no unit; full bar: ${top.toPrecision(2)}`), bars);
    } else card.append(element("p", "How sure these are is unknown: these embeddings state no variance.", "lk-unknown"));
    if (known) card.append(element("h4", `Which of the ${known.dim} dimensions each settles; dark: nothing known, bright: ${known.top.toFixed(2)}`), matrix(i));
  }
  function matrix(i) {
    const table = element("div", undefined, "lk-matrix"), half = Math.ceil(known.dim / 2), M = known.names.length;
    for (let m = 0; m < M; m++) {
      const strip = document.createElement("canvas");
      strip.width = known.dim; strip.height = 1;
      const pen = strip.getContext("2d"), image = pen.createImageData(known.dim, 1);
      for (let k = 0; k < known.dim; k++) {
        const b = known.codes[(i * M + m) * half + (k >> 1)], c = Math.round(((k & 1 ? b >> 4 : b & 15) * 255) / 15);
        image.data.set([known.palette[3 * c], known.palette[3 * c + 1], known.palette[3 * c + 2], 255], 4 * k);
      }
      pen.putImageData(image, 0, 0);
      strip.setAttribute("role", "img");
      strip.setAttribute("aria-label", `Certainty of ${known.names[m]} by dimension`);
      table.append(element("span", known.names[m]), strip);
    }
    return table;
  }

  // -- search ---------------------------------------------------------------------------------------------------------

  function like(q) {
    const { codes, scale, dim } = vectors, score = new Float32Array(n), query = new Float32Array(dim);
    let own = 0;
    for (let k = 0; k < dim; k++) { const v = codes[q * dim + k] * scale[k]; own += v * v; query[k] = v * scale[k]; }
    const squares = scale.map((s) => s * s);
    for (let i = 0; i < n; i++) {
      let dot = 0, length = 0;
      for (let k = 0; k < dim; k++) { const c = codes[i * dim + k]; dot += c * query[k]; length += c * c * squares[k]; }
      score[i] = dot / Math.max(Math.sqrt(own * length), 1e-12);
    }
    const sorted = Float32Array.from(score).sort(), low = sorted[Math.floor(0.02 * (n - 1))], high = sorted[n - 1];
    const grey = Uint8Array.from(score, (s) => 1 + Math.max(0, Math.min(254, Math.floor((254.999 * (s - low)) / Math.max(high - low, 1e-9)))));
    const table = rgb(vectors.palette), palette = new Uint8Array(768);
    for (let c = 1; c < 256; c++) for (let k = 0; k < 3; k++) palette[3 * c + k] = table[3 * Math.round(((c - 1) * 255) / 254) + k];
    const made = { key: "like", name: "Like the chosen place", unit: "", words: [], limits: [low, high], palette, codes: grey };
    const old = layers.findIndex((l) => l.key === "like");
    if (old < 0) layers.push(made); else layers[old] = made;
    const legend = $('[data-legend="like"]'), frame = element("div", undefined, "gr-legend"), bar = element("i", undefined, "gr-bar"), ticks = element("p");
    const stops = Array.from({ length: 17 }, (_, k) => { const c = 3 * Math.min(255, 16 * k); return `rgb(${table[c]},${table[c + 1]},${table[c + 2]})`; });
    bar.style.background = `linear-gradient(90deg,${stops.join(",")})`;
    ticks.append(element("span", `${low.toFixed(3)} unlike`), element("span", `${high.toFixed(3)} alike`));
    frame.append(element("b", made.name), " ", element("small", `cosine of the embeddings, no unit; rounded to 8 bits: off by at most ${Math.max(vectors.error, 0.0001).toFixed(4)}`), bar, ticks);
    legend.replaceChildren(frame);
    act("layer").querySelector('[value="like"]').disabled = false;
    root.dataset.best = [...score.keys()].sort((a, b) => score[b] - score[a]).slice(0, 6).map((i) => pixels[i]).join(" ");
    show("like");
    profile(q);
  }

  // -- controls -------------------------------------------------------------------------------------------------------

  for (const p of planes) act("plane").append(new Option(p.kind === "pca" ? "PCA" : "UMAP", p.kind));
  act("plane").value = state.plane.kind;
  act("plane").addEventListener("change", (e) => { state.plane = planes.find((p) => p.kind === e.target.value) || planes[0]; latent.home(); latent.draw(); });
  act("layer").addEventListener("change", (e) => show(e.target.value));
  act("opacity").addEventListener("input", (e) => { state.opacity = Number(e.target.value); map.draw(); });
  act("labels").addEventListener("change", (e) => { state.labels = e.target.checked; map.draw(); });
  if (!data.labels.length) act("labels").closest("label").hidden = true;
  act("clear").addEventListener("click", () => select(null));
  act("home").addEventListener("click", () => { map.home(); latent.home(); map.draw(); latent.draw(); });
  if (act("like")) act("like").addEventListener("click", () => state.point >= 0 && like(state.point));
  for (const tool of ["brush", "move"]) act(tool).addEventListener("click", () => {
    state.tool = tool;
    for (const t of ["brush", "move"]) act(t).setAttribute("aria-pressed", String(t === tool));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { map.draw(); latent.draw(); });

  // -- begin ----------------------------------------------------------------------------------------------------------

  const opened = (url) => new Promise((done) => { if (!url) { done(null); return; } const img = new Image(); img.onload = () => done(img); img.onerror = () => done(null); img.src = url; });
  Promise.all([opened(data.index), opened(data.scene)]).then(([order, ground]) => {
    scene = ground;
    if (order) {
      const canvas = document.createElement("canvas");
      canvas.width = V.w; canvas.height = V.h;
      const pen = canvas.getContext("2d", { willReadFrequently: true });
      pen.drawImage(order, 0, 0);
      const d = pen.getImageData(0, 0, V.w, V.h).data;
      index = new Uint32Array(V.w * V.h);
      for (let p = 0; p < index.length; p++) index[p] = (d[4 * p] << 16) | (d[4 * p + 1] << 8) | d[4 * p + 2];
    }
    show(root.dataset.first);
    select(state.chosen);
    if (state.point >= 0) choose(state.point);
    root.dataset.ready = "yes";
  });
})();
