// What `Board` (board.py) draws. Nothing is loaded and nothing is evaluated; clicks go back as lists.

// Text is escaped in Python already; should that ever fail, nothing that could run is left here.
function harmless(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  for (const node of template.content.querySelectorAll("*")) {
    if (/^(script|iframe|object|embed|link|meta|base|form|style|a)$/i.test(node.localName)) {
      node.remove();
      continue;
    }
    for (const { name, value } of [...node.attributes]) {
      const loads = /^(src|href|xlink:href|srcset|action|formaction)$/i.test(name);
      if (/^on/i.test(name) || (loads && !value.startsWith("data:image/png;base64,"))) node.removeAttribute(name);
    }
  }
  return template.content;
}

function render({ model, el }) {
  const style = document.createElement("style");
  style.textContent = model.get("css");
  const root = document.createElement("div");
  root.className = "gl-board";
  el.append(style, root);
  const nodes = new Map();
  let pressed = null;  // the part that a pointer is held down on: drawn anew meanwhile, it would lose the click

  function fill(node, html) {
    // A redrawn check box keeps the focus, so that the keyboard can go on.
    const active = node.contains(node.getRootNode().activeElement) ? node.getRootNode().activeElement : null;
    const key = active && active.dataset.do ? [active.dataset.do, active.dataset.value || ""] : null;
    node.replaceChildren(harmless(html));
    node.dataset.empty = html === "";
    if (key) {
      for (const other of node.querySelectorAll("[data-do]")) {
        if (other.dataset.do === key[0] && (other.dataset.value || "") === key[1]) other.focus();
      }
    }
  }

  function drawParts() {
    const parts = model.get("parts");
    for (const [key, node] of nodes) {
      if (!(key in parts)) {
        node.remove();
        nodes.delete(key);
      }
    }
    for (const [key, html] of Object.entries(parts)) {
      let node = nodes.get(key);
      if (!node) {
        node = document.createElement("div");
        node.dataset.part = key;
        nodes.set(key, node);
        root.append(node);
      }
      if (node.glHtml !== html && node !== pressed) {
        node.glHtml = html;
        fill(node, html);
      }
    }
    drawPictures();
    drawMarks();
  }

  function drawPictures() {
    const pictures = model.get("pictures");
    for (const img of root.querySelectorAll("img[data-pic]")) {
      const url = pictures[img.dataset.pic] || "";
      if (img.getAttribute("src") !== url) img.setAttribute("src", url);
    }
  }

  function drawMarks() {
    for (const holder of root.querySelectorAll(".gl-marks")) {
      holder.replaceChildren(...model.get("marks").map(([x, y]) => {
        const ring = document.createElement("i");
        ring.style.left = `${100 * x}%`;
        ring.style.top = `${100 * y}%`;
        return ring;
      }));
    }
  }

  function say(target, event, checked) {
    let x = null, y = null;
    const map = target.closest(".gl-map");
    if (map && event.clientX !== undefined) {
      const box = map.getBoundingClientRect();
      x = (event.clientX - box.left) / box.width;
      y = (event.clientY - box.top) / box.height;
    }
    const time = performance.timeOrigin + performance.now();
    model.set("said", [time, target.dataset.do, target.dataset.value || "", checked, x, y]);
    model.save_changes();
  }

  function release() {
    if (!pressed) return;
    setTimeout(() => {  // the click comes first
      pressed = null;
      drawParts();
    });
  }

  root.addEventListener("pointerdown", (event) => { pressed = event.target.closest("[data-part]"); });
  window.addEventListener("pointerup", release);
  window.addEventListener("pointercancel", release);
  root.addEventListener("click", (event) => {
    const target = event.target.closest("[data-do]");
    if (target && target.type !== "checkbox") say(target, event, null);
  });
  root.addEventListener("change", (event) => {
    const target = event.target.closest("[data-do]");
    if (target && target.type === "checkbox") say(target, event, target.checked);
  });

  model.on("change:parts", drawParts);
  model.on("change:pictures", drawPictures);
  model.on("change:marks", drawMarks);
  drawParts();
  return () => {
    window.removeEventListener("pointerup", release);
    window.removeEventListener("pointercancel", release);
    model.off("change:parts", drawParts);
    model.off("change:pictures", drawPictures);
    model.off("change:marks", drawMarks);
  };
}

export default { render };
