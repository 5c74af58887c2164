"use strict";
(() => {
  const PAGE = 25;
  const data = JSON.parse(document.getElementById("data").textContent);
  const field = (id) => document.getElementById(id);
  const gallery = field("gallery");
  let page = 0;
  let cards = [];

  // Everything a run says enters the page as text or as the address of a picture, never as markup.
  function element(tag, className, text) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  function percent(value) {
    return value === null || value === undefined ? "–" : (100 * value).toFixed(1) + " %";
  }

  function pane(caption, className, layers, card) {
    const figure = element("figure");
    const stack = element("div", "stack " + className);
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
    head.append(element("b", "", card.id));
    if (data.compared) head.append(element("span", "", "IoU " + percent(card.iou)));
    head.append(element("span", "", "uncertainty " + percent(card.uncertainty)));
    head.append(element("span", "", "ignored " + percent(card.ignore)));
    head.append(element("span", "", card.size.join(" × ")));
    for (const label of card.labels) {
      if (label === 0) continue;
      const name = element("span");
      const swatch = element("span", "swatch");
      swatch.style.background = data.colours[label];
      const iou = label in card.ious ? " " + percent(card.ious[label]) : "";
      name.append(swatch, data.names[label] + iou);
      head.append(name);
    }
    const panes = element("div", "panes");
    panes.append(
      pane("image", "", [["image", ""]], card),
      pane("mask", "on-background", [["mask", "labels"]], card),
      pane("overlay", "over", [["image", ""], ["mask", "labels"]], card),
      pane("confidence", "", [["confidence", ""]], card),
    );
    if (card.pictures.truth) {
      panes.append(
        pane("ground truth", "on-background", [["truth", "labels"]], card),
        pane("errors", "dim", [["image", ""], ["errors", "labels"]], card),
      );
    }
    item.append(head, panes);
    for (const note of [...card.notes, card.trouble]) {
      if (note) item.append(element("p", "hint", note));
    }
    return item;
  }

  function select() {
    const label = field("class").value;
    const text = field("name").value.trim().toLowerCase();
    const order = field("order").value;
    // With a class chosen, the IoU that counts is that of this class.
    const iou = (card) => (label !== "" && label in card.ious ? card.ious[label] : card.iou === null ? -1 : card.iou);
    const key = { iou, uncertainty: (card) => -card.uncertainty, ignore: (card) => -card.ignore, id: () => 0 }[order];
    cards = data.cards.filter(
      (card) =>
        (label === "" || card.labels.includes(Number(label))) && (!text || card.id.toLowerCase().includes(text)),
    );
    cards.sort((a, b) => key(a) - key(b) || (a.id < b.id ? -1 : 1));
    turn(0);
  }

  function turn(to) {
    const pages = Math.max(1, Math.ceil(cards.length / PAGE));
    page = Math.min(Math.max(to, 0), pages - 1);
    const first = page * PAGE;
    gallery.start = first + 1;
    gallery.replaceChildren(...cards.slice(first, first + PAGE).map(show));
    const range = cards.length ? first + 1 + "–" + Math.min(first + PAGE, cards.length) + " of " : "";
    field("status").textContent = range + cards.length + (cards.length === 1 ? " image" : " images");
    field("previous").disabled = page === 0;
    field("next").disabled = page === pages - 1;
  }

  document.documentElement.style.setProperty("--label-background", data.colours[0]);
  field("controls").hidden = false;
  field("controls").addEventListener("submit", (event) => event.preventDefault());
  for (const id of ["order", "class", "name"]) field(id).addEventListener("input", select);
  field("opacity").addEventListener("input", (event) => {
    document.documentElement.style.setProperty("--overlay", event.target.value / 100);
  });
  const step = (by) => {
    turn(page + by);
    field("images").scrollIntoView();
  };
  field("previous").addEventListener("click", () => step(-1));
  field("next").addEventListener("click", () => step(1));
  for (const button of document.querySelectorAll("button.class")) {
    button.addEventListener("click", () => {
      field("class").value = button.dataset.label;
      select();
      field("images").scrollIntoView();
      field("class").focus({ preventScroll: true });
    });
  }
  select();
})();
