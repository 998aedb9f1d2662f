"use strict";
// Every map shows the same ground, so one pointer position is one place on all of them. Values are read back from the
// pictures themselves: each colour of a value map stands for one value (its table is in the page data).
(() => {
  const data = JSON.parse(document.getElementById("page-data").textContent);
  const frames = [...document.querySelectorAll(".frame")];
  const readout = document.getElementById("readout");
  const layers = frames.filter((f) => f.dataset.table).map((frame) => ({ frame, table: data.tables[frame.dataset.table] }));

  function pixels(layer) {
    if (layer.pixels) return layer.pixels;
    const img = layer.frame.querySelector("img");
    if (!img.complete || !img.naturalWidth) return null;
    const canvas = document.createElement("canvas");
    canvas.width = img.naturalWidth;
    canvas.height = img.naturalHeight;
    const pen = canvas.getContext("2d", { willReadFrequently: true });
    pen.drawImage(img, 0, 0);
    layer.pixels = pen.getImageData(0, 0, canvas.width, canvas.height);
    layer.lookup = new Map(layer.table.colours.map((c, i) => [c, layer.table.values[i]]));
    return layer.pixels;
  }

  function value(layer, fx, fy) {
    const p = pixels(layer);
    if (!p) return null;
    const x = Math.min(p.width - 1, Math.floor(fx * p.width));
    const y = Math.min(p.height - 1, Math.floor(fy * p.height));
    const k = 4 * (y * p.width + x);
    if (p.data[k + 3] === 0) return "not measured";
    const found = layer.lookup.get((p.data[k] << 16) | (p.data[k + 1] << 8) | p.data[k + 2]);
    return found === undefined ? null : found;
  }

  function show(fx, fy) {
    for (const frame of frames) {
      let cross = frame.querySelector(".cross");
      if (!cross) {
        cross = document.createElement("i");
        cross.className = "cross";
        frame.append(cross);
      }
      cross.style.cssText = `display:block;left:${100 * fx}%;top:${100 * fy}%`;
    }
    const [nw, ne, sw, se] = data.corners; // lon/lat; bilinear between them is good to centimetres over a few kilometres
    const mix = (i) => (nw[i] * (1 - fx) + ne[i] * fx) * (1 - fy) + (sw[i] * (1 - fx) + se[i] * fx) * fy;
    const parts = [`${mix(0).toFixed(5)}°, ${mix(1).toFixed(5)}°`];
    for (const layer of layers) {
      const v = value(layer, fx, fy);
      if (v !== null) parts.push(`${layer.table.name} ${v}`);
    }
    readout.replaceChildren(...parts.map((text) => {
      const span = document.createElement("span");
      span.textContent = text;
      return span;
    }));
    readout.style.display = "flex";
  }

  function hide() {
    readout.style.display = "none";
    for (const cross of document.querySelectorAll(".cross")) cross.style.display = "none";
  }

  for (const frame of frames) {
    const move = (e) => {
      const r = frame.getBoundingClientRect();
      show(Math.min(1, Math.max(0, (e.clientX - r.left) / r.width)), Math.min(1, Math.max(0, (e.clientY - r.top) / r.height)));
    };
    frame.addEventListener("pointermove", move);
    frame.addEventListener("pointerdown", move);
    frame.addEventListener("pointerleave", (e) => { if (e.pointerType === "mouse") hide(); });
  }
  for (const plot of document.querySelectorAll(".plot svg")) {
    plot.addEventListener("pointerover", (e) => {
      const at = e.target.dataset && e.target.dataset.at;
      if (at) show(...at.split(",").map(Number));
    });
    plot.addEventListener("pointerleave", hide);
  }
})();
