// The list of images: filters, pages of cards, verdicts by keys.

import { badges, button, element, field, notify, option } from "./elements.js";
import { isElsewhere } from "./keys.js";
import { address, get, post } from "./server.js";

const PAGE = 60;
const STATES = {
  all: "all", open: "open", reviewed: "reviewed", accepted: "accepted", rejected: "rejected",
  corrected: "corrected", outdated: "outdated", failed: "failed",
};

export class Grid {
  constructor(run, decide, open) {
    this.run = run;
    this.decide = decide; // of an image: verdict
    this.open = open; // an image
    this.ids = [];
    this.page = 0;
    this.cards = new Map(); // of the page, by id
    this.last = ""; // the image to which the focus returns
    this.loading = 0;
    field("run-title").textContent = run.title;
    field("class").append(option("", "all"), ...run.names.map((name, label) => option(label, label + " " + name)).slice(1),
      option(255, "ignored pixels"));
    field("note").append(option("", "all"), ...run.notes.map(([note, count]) => option(note, note + " (" + count + ")")));
    field("note-label").hidden = !run.notes.length;
    for (const state of Object.keys(STATES)) field("state").append(option(state, STATES[state]));
    field("filters").addEventListener("submit", (event) => event.preventDefault());
    for (const id of ["state", "order", "class", "note"]) field(id).addEventListener("input", () => this.load());
    field("name").addEventListener("input", () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.load(), 250);
    });
    field("page-previous").addEventListener("click", () => this.turn(-1));
    field("page-next").addEventListener("click", () => this.turn(1));
    field("reload").addEventListener("click", () => this.load());
    field("cards").addEventListener("click", (event) => {
      const id = event.target.closest("button.card")?.dataset.id;
      if (id !== undefined) this.open(id);
    });
  }

  get query() {
    const label = field("class").value;
    return {
      order: field("order").value, state: field("state").value, label: label === "" ? null : Number(label),
      note: field("note").value, name: field("name").value,
    };
  }

  set query(wanted) {
    for (const id of ["order", "state", "note", "name"]) field(id).value = wanted[id];
    field("class").value = wanted.label;
    for (const id of ["order", "state", "class", "note"]) if (field(id).selectedIndex < 0) field(id).selectedIndex = 0;
  }

  // Ask for the list again; stays near the image that was open.
  async load(page = 0) {
    const ticket = ++this.loading;
    try {
      const found = await post("/api/list", this.query);
      if (ticket !== this.loading) return;
      this.ids = found.ids;
      this.total = found.total;
      this.decisions = found.decisions;
      this.count(found.counts);
      const place = this.last ? this.ids.indexOf(this.last) : -1;
      this.page = place >= 0 ? Math.floor(place / PAGE) : Math.min(page, Math.max(0, this.pages - 1));
      await this.show();
    } catch (error) {
      notify(error.message, true);
    }
  }

  get pages() {
    return Math.ceil(this.ids.length / PAGE);
  }

  count(counts) {
    const judged = counts.all - counts.failed;
    field("progress").textContent = counts.reviewed + " of " + judged + " reviewed";
    for (const entry of field("state").options) entry.textContent = STATES[entry.value] + " (" + counts[entry.value] + ")";
  }

  async show() {
    const ids = this.ids.slice(this.page * PAGE, (this.page + 1) * PAGE);
    const ticket = ++this.loading;
    const { cards } = await post("/api/cards", { ids });
    if (ticket !== this.loading) return;
    this.cards = new Map(cards.map((card) => [card.id, card]));
    field("cards").replaceChildren(...cards.map((card) => this.item(card)));
    field("nothing").hidden = ids.length > 0;
    const from = this.page * PAGE;
    const more = this.total > this.ids.length ? " (of " + this.total + ", narrow the filters)" : "";
    field("place").textContent = ids.length ? from + 1 + "–" + (from + ids.length) + " of " + this.ids.length + more : "";
    field("page-previous").disabled = this.page === 0;
    field("page-next").disabled = this.page + 1 >= this.pages;
    this.changed?.();
  }

  item(card) {
    const item = element("li");
    const open = button("card");
    open.dataset.id = card.id;
    open.classList.toggle("rejected", card.verdict === "rejected" && !card.outdated);
    const frame = element("span", "frame");
    if (card.error) {
      frame.append(element("span", "fault", card.error));
    } else {
      const picture = element("img");
      picture.alt = "";
      picture.loading = "lazy";
      picture.decoding = "async";
      picture.src = address("/thumbnail", { id: card.id, v: card.thumbnail });
      picture.addEventListener("error", () => this.explain(card, frame));
      frame.append(picture);
    }
    const line = element("span", "card-line");
    line.append(...badges(card));
    if (!card.error) line.append(element("span", "quiet", "doubt " + card.doubt.toFixed(2)));
    const name = element("span", "card-name", card.id);
    name.title = card.id;
    open.append(frame, name, line);
    item.append(open);
    return item;
  }

  // Why a thumbnail cannot be shown.
  async explain(card, frame) {
    let why = "the picture cannot be shown";
    try {
      await get("/api/image", { id: card.id });
      await get("/thumbnail", { id: card.id });
    } catch (error) {
      if (!(error instanceof SyntaxError)) why = error.message;
    }
    frame.replaceChildren(element("span", "fault", why));
  }

  // New decisions about these images, of this window or another.
  async refresh(ids) {
    const shown = ids.filter((id) => this.cards.has(id));
    if (!shown.length) return;
    const { cards } = await post("/api/cards", { ids: shown });
    for (const card of cards) {
      this.cards.set(card.id, card);
      const former = [...field("cards").querySelectorAll("button.card")].find((node) => node.dataset.id === card.id);
      if (!former) continue;
      const focused = former === document.activeElement;
      const item = this.item(card);
      former.parentElement.replaceWith(item);
      if (focused) item.firstElementChild.focus();
    }
  }

  async turn(by) {
    const page = this.page + by;
    if (page < 0 || page >= this.pages) return;
    this.page = page;
    this.last = "";
    await this.show();
    scrollTo(0, 0);
    field("cards").querySelector("button")?.focus();
  }

  // The image after or before another in the list.
  beside(id, by) {
    const place = this.ids.indexOf(id);
    return place < 0 ? undefined : this.ids[place + by];
  }

  focus(id) {
    const nodes = [...field("cards").querySelectorAll("button.card")];
    (nodes.find((node) => node.dataset.id === id) ?? nodes[0])?.focus();
  }

  key(event) {
    if (isElsewhere(event) || event.ctrlKey || event.altKey) return;
    const nodes = [...field("cards").querySelectorAll("button.card")];
    const at = nodes.indexOf(document.activeElement);
    const row = nodes.length ? nodes.filter((node) => node.offsetTop === nodes[0].offsetTop).length : 1;
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -row, ArrowDown: row }[event.key];
    if (step && nodes.length) {
      event.preventDefault();
      const next = at < 0 ? 0 : at + step;
      if (nodes[next]) nodes[next].focus();
      else if (Math.abs(step) === 1 && at >= 0) this.turn(step);
    } else if (event.key === "PageUp" || event.key === "PageDown") {
      event.preventDefault();
      this.turn(event.key === "PageUp" ? -1 : 1);
    } else if (event.key === "r") {
      this.load(this.page);
    } else if (at >= 0 && { a: 1, x: 1, o: 1 }[event.key] && !event.repeat) {
      const id = nodes[at].dataset.id;
      this.decide(id, { a: "accepted", x: "rejected", o: "open" }[event.key]);
    }
  }
}
