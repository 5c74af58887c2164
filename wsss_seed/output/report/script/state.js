// The address holds the state of the page, as in #order=ignore&class=3&open=cat, and everything is drawn from it.

const choices = (id) => [...field(id).options].map((option) => option.value);
const ALLOWED = {
  order: choices("order"),
  class: choices("class"),
  show: data.against ? ["", "first", "second"] : ["", "missed"],
  pair: ["", ...data.pairs.map((pair) => pair.join("-"))],
  detail: ["", ...Object.keys(data.details)],
  view: choices("view"),
};
const DEFAULTS = {
  order: ALLOWED.order[0],
  class: "",
  show: "",
  pair: "",
  name: "",
  page: 1,
  sort: "",
  detail: "",
  open: "",
  view: ALLOWED.view[0],
};

function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  const found = { ...DEFAULTS };
  for (const key of Object.keys(DEFAULTS)) {
    const value = given.get(key);
    if (value !== null && (!(key in ALLOWED) || ALLOWED[key].includes(value))) found[key] = value;
  }
  found.page = Math.max(1, Math.trunc(Number(found.page)) || 1);
  return found;
}

let state = readAddress();

function writeAddress(push) {
  const changed = Object.entries(state).filter(([key, value]) => value !== DEFAULTS[key]);
  const hash = changed.length ? "#" + new URLSearchParams(changed) : "";
  const address = location.pathname + location.search + hash;
  try {
    if (push) history.pushState({ pushed: true }, "", address);
    else history.replaceState(history.state, "", address);
  } catch {
    // Browsers limit how often the address may change, and frames may forbid it; the page works without.
  }
}

// Change the state and draw it. A pushed change can be undone with the back button.
function change(changes, push = false) {
  state = { ...state, ...changes };
  writeAddress(push);
  render();
}

function undo(changes) {
  if (history.state?.pushed) history.back();
  else change(changes);
}
