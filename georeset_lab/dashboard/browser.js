// Names the key of this tab's workspace to the server, and keeps the one the server answers with.
//
// A tab finds its key again after a reload (sessionStorage), a new tab finds the last one of this browser (localStorage).
// A key that another open tab has is not named: two pages must not write to one folder. `asked` and `issued` are hidden
// text inputs of the document; the server reads the first and writes the second.
const NAME = "georeset-workspace";
const WAIT_MS = 250;

const read = (store) => {
  try {
    return window[store].getItem(NAME) || "";
  } catch {
    return ""; // a browser that keeps nothing
  }
};
const write = (store, key) => {
  try {
    window[store].setItem(NAME, key);
  } catch {
    // then nothing is restored
  }
};

const claim = { key: read("sessionStorage") || read("localStorage"), lot: Math.random(), settled: false };
let taken = false;

const channel = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel(NAME);
if (channel) {
  channel.onmessage = ({ data }) => {
    if (!data || !claim.key) return;
    // Of two tabs that ask at once, the one with the smaller lot gives way.
    if (data.who === claim.key && (claim.settled || claim.lot > data.lot)) channel.postMessage({ taken: data.who });
    if (data.taken === claim.key && !claim.settled) taken = true;
  };
  if (claim.key) channel.postMessage({ who: claim.key, lot: claim.lot });
}

issued.properties.value.change.connect(() => {
  claim.key = issued.value;
  claim.settled = true;
  write("sessionStorage", claim.key);
  if (!taken) write("localStorage", claim.key);
});

setTimeout(
  () => {
    asked.value = JSON.stringify({ key: taken ? "" : claim.key, lot: claim.lot });
  },
  channel && claim.key ? WAIT_MS : 0,
);
