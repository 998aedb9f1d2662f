// Leaflet tells Python of every movement of the mouse, sixty times a second. This lets one through per `every_ms`, and
// the last one always; while a button is held or a shape is drawn all pass, for dragging and drawing live on them.
// The escape key gives up a shape. Leaflet is told when its box changes size, which it does not notice by itself.
// Python is told when the first picture has been painted: until then it leaves the processor to the browser.
function render({ model, el }) {
  el.style.display = "none";
  let root = null, last = 0, timer = 0, waiting = null, later = 0, looking = 0;
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
    if (map) { sizes.observe(map); look_for_picture(map); } else if (tries) setTimeout(() => watch(tries - 1), 100);
  }
  async function look_for_picture(map) {
    const picture = [...map.querySelectorAll(".leaflet-gr-layer-pane img")].find((i) => i.src.startsWith("data:image/png"));
    if (!picture) { looking = setTimeout(() => look_for_picture(map), 25); return; }
    await picture.decode().catch(() => null); // another one took its place: as good
    requestAnimationFrame(() => requestAnimationFrame(() => {
      model.set("painted", true);
      model.save_changes();
    }));
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
    clearTimeout(looking);
    sizes.disconnect();
    root?.removeEventListener("mousemove", gate, true);
    root?.removeEventListener("mouseleave", forget);
    root?.removeEventListener("keydown", escape, true);
  };
}
export default { render };
