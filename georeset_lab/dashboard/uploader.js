// The button that sends files to /upload of the server. Everything it shows is set as text.
function size(n) {
  return n < 1e9 ? `${(n / 1e6).toFixed(1)} MB` : `${(n / 1e9).toFixed(2)} GB`;
}

function send(model, file, say) {
  return new Promise((done) => {
    const request = new XMLHttpRequest();
    request.open("POST", new URL("upload", document.baseURI));
    request.setRequestHeader("X-Ticket", model.get("ticket"));
    request.setRequestHeader("X-File-Name", encodeURIComponent(file.name));
    request.upload.onprogress = (event) => {
      if (event.lengthComputable) say(`${file.name}: ${Math.round((100 * event.loaded) / event.total)} %`);
    };
    request.onload = () => {
      let answer = {};
      try {
        answer = JSON.parse(request.responseText);
      } catch {
        answer = { ok: false, message: `The server answered ${request.status}.` };
      }
      done(answer.ok ? "" : answer.message);
    };
    request.onerror = () => done("The server broke the transfer off. Is the file too large, or the connection lost?");
    request.send(file);
  });
}

function render({ model, el }) {
  const root = document.createElement("div");
  root.className = "georeset-uploader";
  const input = document.createElement("input");
  input.type = "file";
  input.multiple = true;
  input.accept = model.get("accept");
  input.setAttribute("aria-label", model.get("label"));
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = model.get("label");
  button.title = model.get("hint");
  const note = document.createElement("span");
  note.className = "georeset-uploader-note";
  note.setAttribute("role", "status");
  input.hidden = true;
  button.onclick = () => input.click();
  const say = (text) => {
    note.textContent = text;
  };
  input.onchange = async () => {
    const most = model.get("max_bytes");
    button.disabled = true;
    const refused = [];
    for (const file of input.files) {
      const message =
        file.size > most
          ? `The file has ${size(file.size)}; up to ${size(most)} are taken.`
          : await send(model, file, say);
      if (message) refused.push(`${file.name}: ${message}`);
    }
    say(refused.join(" "));
    input.value = "";
    button.disabled = false;
  };
  root.append(button, input, note);
  el.append(root);
}

export default { render };
