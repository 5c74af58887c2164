// The cards: those that match the controls, in their order, 25 at a time.

const PAGE = 25;
const gallery = field("gallery");
let cards = [];
let drawn = "";

function pane(caption, className, layers, card, view) {
  const figure = element("figure");
  const stack = button("stack " + className);
  stack.tabIndex = -1; // the name of the image does the same for the keyboard
  stack.title = "enlarge";
  stack.addEventListener("click", () => openCard(card, view));
  layers.forEach((name, place) => {
    const picture = element("img", name === "image" || name === "confidence" ? "" : "labels");
    picture.src = card.pictures[name];
    picture.alt = place === layers.length - 1 ? caption + " of " + card.id : "";
    picture.decoding = "async";
    stack.append(picture);
  });
  figure.append(stack, element("figcaption", "", caption));
  return figure;
}

// Caption, kind, pictures from bottom to top, and the view that a click opens.
const PANES = {
  run: [
    ["image", "", ["image"], "mask"],
    ["mask", "on-background", ["mask"], "mask"],
    ["overlay", "over", ["image", "mask"], "mask"],
    ["confidence", "", ["confidence"], "confidence"],
    ["ground truth", "on-background", ["truth"], "truth"],
    ["errors", "dim", ["image", "errors"], "errors"],
  ],
  against: [
    ["image", "", ["image"], "beside"],
    ["A", "over", ["image", "mask"], "mask"],
    ["B", "over", ["image", "other"], "other"],
    ["difference", "dim", ["image", "difference"], "difference"],
    ["ground truth", "on-background", ["truth"], "truth"],
  ],
};

function show(card) {
  const item = element("li");
  const head = element("p", "card-head");
  const name = element("b");
  const open = button("name", card.id);
  open.addEventListener("click", () => openCard(card, DEFAULTS.view));
  name.append(open);
  head.append(name, ...facts(card));
  const panes = element("div", "panes");
  for (const [caption, className, layers, view] of data.against ? PANES.against : PANES.run) {
    if (layers.every((name) => card.pictures[name])) panes.append(pane(caption, className, layers, card, view));
  }
  item.append(head, ...remarks(card), panes);
  return item;
}

function matches(card) {
  const label = Number(state.class);
  const text = state.name.trim().toLowerCase();
  if (text && !card.id.toLowerCase().includes(text)) return false;
  if (state.pair && !rivalry(card)) return false;
  if (state.show === "missed") return card.missed.some(([missed]) => !label || missed === label);
  if (state.show) return card.only[state.show === "first" ? 0 : 1].some((only) => !label || only === label);
  return !label || card.labels.includes(label);
}

// The chosen pair of classes of an image.
function rivalry(card) {
  return card.pairs.find(([one, other]) => one + "-" + other === state.pair);
}

// The value by which cards are sorted; with a class chosen, its IoU and its score count.
const KEYS = {
  iou: (card) => (state.class in card.ious ? card.ious[state.class] : card.iou === null ? -1 : card.iou),
  missed: (card) =>
    -card.missed
      .filter(([label]) => !state.class || state.show !== "missed" || label === Number(state.class))
      .reduce((sum, [, , score]) => sum + score, 0),
  pairs: (card) => -((state.pair ? rivalry(card) : card.pairs[0])?.[2] ?? 0),
  differs: (card) => -card.differs,
  agreement: (card) => card.agreement,
  loss: (card) => card.change ?? 2,
  gain: (card) => -(card.change ?? -2),
  uncertainty: (card) => -card.uncertainty,
  ignore: (card) => -card.ignore,
  id: () => 0,
};

function renderGallery() {
  for (const id of ["order", "class", "name"]) field(id).value = state[id];
  if (field("show")) field("show").checked = state.show === "missed";
  const chosen = criteria(false);
  field("chosen").hidden = !chosen.length;
  field("chosen-text").textContent = chosen.join(", ");
  const wanted = () => JSON.stringify([state.order, state.class, state.show, state.pair, state.name, state.page]);
  if (wanted() === drawn) return;
  const key = KEYS[state.order];
  cards = data.cards.filter(matches).sort((a, b) => key(a) - key(b) || (a.id < b.id ? -1 : 1));
  const pages = Math.max(1, Math.ceil(cards.length / PAGE));
  state.page = Math.min(state.page, pages);
  drawn = wanted();
  const first = PAGE * (state.page - 1);
  gallery.start = first + 1;
  showCards(cards.slice(first, first + PAGE));
  const range = cards.length ? first + 1 + "–" + Math.min(first + PAGE, cards.length) + " of " : "";
  field("status").textContent = range + cards.length + (cards.length === 1 ? " image" : " images");
  field("previous").disabled = state.page === 1;
  field("next").disabled = state.page === pages;
  field("nothing").hidden = cards.length > 0;
  if (!cards.length) field("criteria").textContent = criteria().join(", ");
}

// Show cards, once they are complete if they have to be loaded.
function showCards(some) {
  const asked = drawn;
  const put = () => {
    trouble(null);
    gallery.replaceChildren(...some.map(show));
    gallery.removeAttribute("aria-busy");
  };
  const loading = complete(some);
  if (!loading) return put();
  gallery.setAttribute("aria-busy", "true");
  loading.then(
    () => drawn === asked && put(),
    (error) => {
      gallery.replaceChildren();
      trouble(error);
      drawn = "";
    },
  );
}

// Go to the gallery with some filters.
function showImages(filters) {
  change({ ...filters, page: 1 });
  field("images").scrollIntoView();
  field("class").focus({ preventScroll: true });
}

const ONLY = { first: "A", second: "B" };

// What was asked for, in words; only what has no control of its own, or all of it.
function criteria(all = true) {
  const parts = [];
  if (state.class && all) parts.push("class " + data.names[state.class]);
  if (state.pair) {
    const [one, other] = state.pair.split("-").map((label) => nameOf(Number(label)));
    parts.push(data.against ? `${one} in A, ${other} in B` : `${one} and ${other} compete`);
  }
  if (state.show in ONLY) parts.push((state.class ? "" : "a class ") + "only in " + ONLY[state.show]);
  else if (state.show && all) parts.push("may have missed " + (state.class ? "it" : "a class"));
  if (state.name.trim() && all) parts.push("name with “" + state.name.trim() + "”");
  return parts;
}

function startGallery() {
  field("controls").hidden = false;
  field("controls").addEventListener("submit", (event) => event.preventDefault());
  for (const id of ["order", "class", "name"]) {
    field(id).addEventListener("input", () => change({ [id]: field(id).value, page: 1 }));
  }
  field("show")?.addEventListener("input", () => change({ show: field("show").checked ? "missed" : "", page: 1 }));
  const step = (by) => {
    change({ page: state.page + by });
    field("images").scrollIntoView();
  };
  field("previous").addEventListener("click", () => step(-1));
  field("next").addEventListener("click", () => step(1));
  field("clear").addEventListener("click", () => {
    change({ class: "", show: "", pair: "", name: "", page: 1 });
    field("name").focus();
  });
  field("chosen-clear").addEventListener("click", () => {
    change({ show: "", pair: "", page: 1 });
    field("class").focus();
  });
  for (const press of document.querySelectorAll("button.class")) {
    press.addEventListener("click", () => {
      showImages({ class: press.dataset.label ?? "", show: press.dataset.show ?? "", pair: press.dataset.pair ?? "" });
    });
  }
}
