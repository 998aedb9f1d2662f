// Tells Python that all widgets of a page exist in the browser: views are made only after all models.
function render({ model, el }) {
  el.style.display = "none";
  model.set("seen", model.get("seen") + 1);
  model.save_changes();
}

export default { render };
