// Leaflet tells Python of every movement of the mouse, sixty times a second. This lets one through per `every_ms`, and
// the last one always; while a button is held or a shape is drawn all pass, for dragging and drawing live on them.
// The escape key gives up a shape. Leaflet is told when its box changes size, which it does not notice by itself.
// Python is told when a picture has been painted: until then it leaves the processor to the browser.
function render({ model, el }) {
  el.style.display = "none";
  let root = null, last = 0, timer = 0, waiting = null, later = 0, painted = 0;
  const passed = new WeakSet();

  function let_through(event) {
    last = performance.now();
    passed.add(event);
  }
  function gate(event) {
    if (event.buttons || model.get("drawing") || passed.has(event)) return;
    if (!event.composedPath().some((node) => node.classList?.contains("leaflet-container"))) return;
    clearTimeout(timer);
    const left = last + model.get("every_ms") - performance.now();
    if (left <= 0) return let_through(event);
    event.stopPropagation();
    waiting = event;
    timer = setTimeout(() => {
      const { clientX, clientY, screenX, screenY } = waiting;
      const again = new MouseEvent("mousemove", { bubbles: true, composed: true, clientX, clientY, screenX, screenY });
      let_through(again);
      (waiting.composedPath()[0] ?? waiting.target)?.dispatchEvent(again);
    }, left);
  }
  function forget() { clearTimeout(timer); }
  function escape(event) {
    if (event.key !== "Escape" || !model.get("drawing")) return;
    model.set("drawing", false);
    model.save_changes();
  }
  const sizes = new ResizeObserver(() => {
    clearTimeout(later);
    later = setTimeout(() => window.dispatchEvent(new Event("resize")), 60);
  });
  function watch(tries) {
    const map = root?.querySelector(".leaflet-container");
    if (map) { sizes.observe(map); watch_pictures(map); } else if (tries) setTimeout(() => watch(tries - 1), 100);
  }
  const pictures = new MutationObserver((changes) => {
    for (const { target, addedNodes } of changes) [target, ...addedNodes].forEach(tell_when_painted);
  });
  function tell_when_painted(image) {
    if (!(image instanceof HTMLImageElement) || !image.src.startsWith("data:image/png")) return; // emptied
    const told = () => requestAnimationFrame(() => requestAnimationFrame(() => {
      model.set("painted", ++painted);
      model.save_changes();
    }));
    image.decode().then(told, () => null); // another one took its place, and will be told of
  }
  function watch_pictures(map) {
    const pane = map.querySelector(".leaflet-gr-layer-pane");
    if (!pane) { setTimeout(() => root && watch_pictures(map), 25); return; }
    pictures.observe(pane, { subtree: true, childList: true, attributes: true, attributeFilter: ["src"] });
    pane.querySelectorAll("img").forEach(tell_when_painted);
  }
  function attach(tries) {
    root = el.closest(".gr-map");
    if (!root) { if (tries) setTimeout(() => attach(tries - 1), 100); return; }
    root.addEventListener("mousemove", gate, true);
    root.addEventListener("mouseleave", forget);
    root.addEventListener("keydown", escape, true);
    watch(600);
  }
  attach(600);
  return () => {
    forget();
    sizes.disconnect();
    pictures.disconnect();
    root?.removeEventListener("mousemove", gate, true);
    root?.removeEventListener("mouseleave", forget);
    root?.removeEventListener("keydown", escape, true);
    root = null;
  };
}
export default { render };
