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
  layers.forEach(([name, kind], place) => {
    const picture = element("img", kind);
    picture.src = card.pictures[name];
    picture.alt = place === layers.length - 1 ? caption + " of " + card.id : "";
    picture.decoding = "async";
    stack.append(picture);
  });
  figure.append(stack, element("figcaption", "", caption));
  return figure;
}

function show(card) {
  const item = element("li");
  const head = element("p", "card-head");
  const name = element("b");
  const open = button("name", card.id);
  open.addEventListener("click", () => openCard(card, "mask"));
  name.append(open);
  head.append(name, ...facts(card));
  const panes = element("div", "panes");
  panes.append(
    pane("image", "", [["image", ""]], card, "mask"),
    pane("mask", "on-background", [["mask", "labels"]], card, "mask"),
    pane("overlay", "over", [["image", ""], ["mask", "labels"]], card, "mask"),
    pane("confidence", "", [["confidence", ""]], card, "confidence"),
  );
  if (card.pictures.truth) {
    panes.append(
      pane("ground truth", "on-background", [["truth", "labels"]], card, "truth"),
      pane("errors", "dim", [["image", ""], ["errors", "labels"]], card, "errors"),
    );
  }
  item.append(head, ...remarks(card), panes);
  return item;
}

function matches(card) {
  const label = Number(state.class);
  const text = state.name.trim().toLowerCase();
  const missed = card.missed.map(([label]) => label);
  if (text && !card.id.toLowerCase().includes(text)) return false;
  if (state.show === "missed") return label ? missed.includes(label) : missed.length > 0;
  return !label || card.labels.includes(label);
}

// The value by which cards are sorted; with a class chosen, its IoU and its score count.
const KEYS = {
  iou: (card) => (state.class in card.ious ? card.ious[state.class] : card.iou === null ? -1 : card.iou),
  missed: (card) =>
    -card.missed
      .filter(([label]) => !state.class || state.show !== "missed" || label === Number(state.class))
      .reduce((sum, [, , score]) => sum + score, 0),
  uncertainty: (card) => -card.uncertainty,
  ignore: (card) => -card.ignore,
  id: () => 0,
};

function renderGallery() {
  for (const id of ["order", "class", "name"]) field(id).value = state[id];
  if (field("show")) field("show").checked = state.show === "missed";
  const wanted = () => JSON.stringify([state.order, state.class, state.show, state.name, state.page]);
  if (wanted() === drawn) return;
  const key = KEYS[state.order];
  cards = data.cards.filter(matches).sort((a, b) => key(a) - key(b) || (a.id < b.id ? -1 : 1));
  const pages = Math.max(1, Math.ceil(cards.length / PAGE));
  state.page = Math.min(state.page, pages);
  drawn = wanted();
  const first = PAGE * (state.page - 1);
  gallery.start = first + 1;
  gallery.replaceChildren(...cards.slice(first, first + PAGE).map(show));
  const range = cards.length ? first + 1 + "–" + Math.min(first + PAGE, cards.length) + " of " : "";
  field("status").textContent = range + cards.length + (cards.length === 1 ? " image" : " images");
  field("previous").disabled = state.page === 1;
  field("next").disabled = state.page === pages;
  field("nothing").hidden = cards.length > 0;
  if (!cards.length) field("criteria").textContent = criteria().join(", ");
}

// What was asked for, in words.
function criteria() {
  const parts = [];
  if (state.class) parts.push("class " + data.names[state.class]);
  if (state.show) parts.push("may have missed " + (state.class ? "it" : "a class"));
  if (state.name.trim()) parts.push("name with “" + state.name.trim() + "”");
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
    change({ class: "", show: "", name: "", page: 1 });
    field("name").focus();
  });
  for (const press of document.querySelectorAll("button.class")) {
    press.addEventListener("click", () => {
      change({ class: press.dataset.label, show: press.dataset.show ?? "", page: 1 });
      field("images").scrollIntoView();
      field("class").focus({ preventScroll: true });
    });
  }
}
