// One image: its mask over the photograph, what is known about it, and the tools that change the mask.

import { badges, button, element, field, notify, percent } from "./elements.js";
import { isElsewhere } from "./keys.js";
import { Change, IGNORE, decoded, deflated, region, stroke } from "./labels.js";
import { Conflict, get, map, picture, post, stateBefore } from "./server.js";
import { View, lighter } from "./view.js";

const UNDO_BYTES = 512 * 2 ** 20; // of changes that can be undone; the oldest go first
const SIZES = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 200];
const CLICK = 5; // pixels of the screen by which the pointer may move in a click
const SOURCES = { given: "in the given labels", clip: "found by CLIP", box: "has a box" };
const ROLES = { confident: "painted", ambiguous: "ambiguous", dropped: "dropped" };

export class Editor {
  constructor(run, moves) {
    this.run = run;
    this.moves = moves; // { close, step, decided, by, undoDecision, canUndo }
    this.detail = null; // what is known about the image; null while it is loaded
    this.labels = null;
    this.done = [];
    this.undone = [];
    this.saved = 0; // number of changes that are saved; -1 if some of those were undone and replaced
    this.tool = "hand";
    this.label = 1;
    this.size = 12;
    this.cursor = null; // in pixels of the image
    this.prompt = null; // { points, positive, box, corner, masks, candidate }
    this.pointers = new Map();
    this.turns = new Map(); // how images are turned, by id
    this.loading = 0;
    this.asking = 0;
    this.view = new View(field("stage"), field("photo"), field("mask"), field("marks"), run.colours);
    this.view.drawMarks = (context, at) => this.drawMarks(context, at);
    this.makeClasses();
    this.connect();
    this.choose(1);
    this.use("hand");
    this.resize(12);
    field("opacity").value = 50;
    field("outlines").checked = field("boxes").checked = true;
    field("confidence").checked = field("dropped").checked = false; // browsers keep them over a reload
    this.look();
    field("copy-all").hidden = !run.other;
    document.querySelector("[data-tool=copy]").hidden = !run.other;
  }

  get id() {
    return this.wanted;
  }

  get dirty() {
    return this.labels !== null && this.done.length !== this.saved;
  }

  // -- loading

  async load(id) {
    const ticket = ++this.loading;
    this.wanted = id;
    this.clear();
    this.describe();
    this.say("loading ...");
    try {
      const detail = await get("/api/image", { id });
      if (ticket !== this.loading) return false;
      if (detail.error) {
        this.detail = detail;
        this.describe();
        this.say(detail.error, true);
        return true;
      }
      const [mask, photo] = await Promise.all([
        map("/labels", { id, mask: detail.mask ?? "own" }),
        picture("/photo", { id, v: detail.photo }),
      ]);
      if (ticket !== this.loading) {
        photo.close();
        return false;
      }
      if (mask.width !== detail.size[0] || mask.height !== detail.size[1]) throw new Error("the corrected mask has another size than the image");
      if (!detail.mask && mask.digest !== detail.base) throw new Error("the mask of the run is being written; open the image again");
      this.detail = detail;
      this.labels = mask.values;
      this.stored = mask.values.slice();
      this.view.turn = this.turns.get(id) ?? 0;
      this.view.show({ photo, labels: this.labels, width: mask.width, height: mask.height });
      this.say("");
      this.describe();
      this.colour();
      if (field("confidence").checked) this.showConfidence();
      if (this.tool === "sam") this.encode();
    } catch (error) {
      if (ticket === this.loading) {
        this.describe();
        this.say(error.message, true);
      }
    }
    return true;
  }

  clear() {
    this.detail = this.labels = this.stored = this.cursor = this.other = null;
    this.done = [];
    this.undone = [];
    this.saved = 0;
    this.gesture = null;
    this.pointers.clear();
    this.drop();
    this.view.show(null);
  }

  say(text, bad = false) {
    const line = field("stage-line");
    line.textContent = text;
    line.hidden = !text;
    line.classList.toggle("bad", bad);
  }

  // -- what is known

  describe() {
    const { detail } = this;
    field("image-title").textContent = this.wanted;
    const state = detail ? badges(detail) : [];
    if (this.dirty) state.push(element("span", "badge warn", "not saved"));
    field("image-state").replaceChildren(...state);
    const usable = Boolean(this.labels);
    for (const id of ["accept", "reject", "save"]) field(id).disabled = !usable;
    field("reopen").disabled = !usable || detail.verdict === "open";
    field("undo").disabled = !this.done.length && !this.moves.canUndo();
    field("redo").disabled = !this.undone.length;
    field("discard").disabled = !this.dirty;
    field("facts").replaceChildren(...this.facts());
    this.listBoxes();
    this.listHistory();
  }

  facts() {
    const { detail } = this;
    if (!detail || detail.error) return [];
    const lines = [];
    const line = (text, className = "") => lines.push(element("p", className, text));
    line(detail.size.join(" × ") + " pixels, doubt " + detail.doubt.toFixed(2) + ", ignored " + percent(detail.ignore), "quiet");
    if (detail.given) line("image-level labels: " + (detail.given.join(", ") || "none"), "quiet");
    if (detail.outdated) line("The mask of the run has changed since " + (detail.by || "somebody") + " reviewed it; review it again. Nothing was overwritten.", "warn");
    else if (detail.edited) line("The mask of the run has been changed by another program since it was generated.", "warn");
    for (const { label, source, score } of detail.missed) {
      line("perhaps missed: " + this.run.names[label] + " (" + SOURCES[source] + (source === "given" ? "" : ", " + score.toFixed(2)) + ")", "warn");
    }
    for (const note of detail.notes) line(note, "quiet");
    return lines;
  }

  listBoxes() {
    const boxes = this.detail?.boxes ?? [];
    field("box-section").hidden = !boxes.length;
    field("box-list").replaceChildren(
      ...boxes.map((box, k) => {
        const item = element("li", box.role);
        item.append(element("b", "", box.cls + " " + box.final.toFixed(2)), element("span", "quiet", " " + ROLES[box.role] + ": " + box.why));
        item.addEventListener("pointerenter", () => this.mark(k));
        item.addEventListener("pointerleave", () => this.mark(-1));
        return item;
      }),
    );
  }

  mark(box) {
    this.marked = box;
    this.view.drawTop();
  }

  listHistory() {
    const history = this.detail?.history ?? [];
    const items = [];
    const entry = (what, hint, verdict, mask, current) => {
      const item = element("li");
      const restore = button("", "restore", "make this state the current one");
      restore.disabled = current || !this.labels;
      restore.addEventListener("click", () => this.restore(verdict, mask, what));
      item.append(element("span", "", what), element("span", "quiet", " " + hint + " "), restore);
      items.push(item);
    };
    const last = history.length - 1;
    if (this.detail && !this.detail.error) entry("as generated", "", "open", null, !history.length);
    history.forEach((decision, k) => {
      const when = new Date(1000 * decision.at).toLocaleString();
      entry(decision.what || decision.verdict, [decision.by, when].filter(Boolean).join(", "), decision.verdict, decision.mask, k === last);
    });
    field("history").replaceChildren(...items.reverse());
  }

  drawMarks(context, at) {
    const { detail, prompt } = this;
    const line = (points, colour, width, dash = []) => {
      context.setLineDash(dash);
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.strokeRect(points[0], points[1], points[2] - points[0], points[3] - points[1]);
      context.setLineDash([]);
    };
    const corners = ([x0, y0, x1, y1]) => {
      const [a, b] = [at({ x: x0, y: y0 }), at({ x: x1, y: y1 })];
      return [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[0], b[0]), Math.max(a[1], b[1])];
    };
    (detail?.boxes ?? []).forEach((box, k) => {
      const shown = box.role === "dropped" ? field("dropped").checked : field("boxes").checked;
      if (!shown && this.marked !== k) return;
      const place = corners(box.box);
      const label = this.run.names.indexOf(box.cls);
      const colour = box.role === "dropped" || label < 0 ? "#d0d0d0" : lighter(this.run.colours[label]);
      const dash = { confident: [], ambiguous: [8, 5], dropped: [2, 4] }[box.role];
      line(place, "#000a", this.marked === k ? 6 : 4);
      line(place, colour, this.marked === k ? 4 : 2, dash);
      const text = box.cls + " " + box.final.toFixed(2);
      context.font = "12px system-ui, sans-serif";
      const width = context.measureText(text).width;
      const y = Math.max(2, place[1] - 16);
      context.fillStyle = "#000c";
      context.fillRect(place[0], y, width + 8, 16);
      context.fillStyle = "#fff";
      context.fillText(text, place[0] + 4, y + 12);
    });
    if (prompt) {
      const box = prompt.box ?? prompt.drawn;
      if (box) line(corners(box), "#000", 4), line(corners(box), "#fff", 2);
      if (prompt.corner) this.cross(context, at(prompt.corner), "#fff");
      prompt.points.forEach(([x, y], k) => {
        const [sx, sy] = at({ x, y });
        context.beginPath();
        context.arc(sx, sy, 7, 0, 7);
        context.fillStyle = prompt.positive[k] ? "#1a8f3c" : "#c22";
        context.fill();
        context.lineWidth = 2;
        context.strokeStyle = "#fff";
        context.stroke();
        context.beginPath();
        context.moveTo(sx - 4, sy), context.lineTo(sx + 4, sy);
        if (prompt.positive[k]) context.moveTo(sx, sy - 4), context.lineTo(sx, sy + 4);
        context.stroke();
      });
    }
    if (!this.cursor || !this.labels) return;
    const [x, y] = at(this.cursor);
    if (this.tool === "brush" || this.tool === "eraser") {
      for (const [colour, width] of [["#000", 3], ["#fff", 1]]) {
        context.beginPath();
        context.arc(x, y, Math.max(1, (this.size / 2) * this.view.scale), 0, 7);
        context.strokeStyle = colour;
        context.lineWidth = width;
        context.stroke();
      }
    } else if (this.byKeys) {
      this.cross(context, [x, y], "#fff");
    }
  }

  cross(context, [x, y], colour) {
    for (const [ink, width] of [["#000", 4], [colour, 2]]) {
      context.beginPath();
      context.moveTo(x - 10, y), context.lineTo(x + 10, y), context.moveTo(x, y - 10), context.lineTo(x, y + 10);
      context.strokeStyle = ink;
      context.lineWidth = width;
      context.stroke();
    }
  }

  // -- classes and tools

  makeClasses() {
    const { names, colours } = this.run;
    const entries = [...names.entries(), [IGNORE, "ignore"]];
    field("classes").append(
      ...entries.map(([label, name]) => {
        const node = button("class", "", label === IGNORE ? "class ignore (i)" : "class " + label);
        const swatch = element("span", "swatch");
        swatch.style.background = label === IGNORE ? "#fff" : colours[label];
        node.append(element("span", "number", label === IGNORE ? "i" : String(label)), swatch, element("span", "", name));
        node.dataset.label = label;
        node.addEventListener("click", () => this.choose(label));
        return node;
      }),
    );
    field("class-filter").addEventListener("input", () => this.filterClasses());
    field("class-filter").addEventListener("keydown", (event) => {
      if (event.key === "Enter") {
        const first = [...field("classes").children].find((node) => !node.hidden);
        if (first) this.choose(Number(first.dataset.label));
      }
      if (event.key === "Enter" || event.key === "Escape") {
        event.stopPropagation();
        field("class-filter").value = "";
        this.filterClasses();
        field("stage").focus();
      }
    });
    field("class-filter").hidden = names.length < 10;
  }

  filterClasses() {
    const wanted = field("class-filter").value.toLowerCase();
    for (const node of field("classes").children) node.hidden = !node.textContent.toLowerCase().includes(wanted);
  }

  name(label) {
    return label === IGNORE ? "ignore" : (this.run.names[label] ?? "label " + label);
  }

  choose(label) {
    if (label !== IGNORE && !(label < this.run.names.length)) return;
    this.label = label;
    for (const node of field("classes").children) {
      node.setAttribute("aria-pressed", Number(node.dataset.label) === label);
      if (Number(node.dataset.label) === label) node.scrollIntoView?.({ block: "nearest" });
    }
    this.colour();
  }

  colour() {
    if (!this.view.image) return;
    this.view.image.colour = this.label === IGNORE ? "#ffffff" : this.label === 0 ? "#404040" : this.run.colours[this.label];
    this.view.draw();
  }

  // Digits typed in a row are one number where there are that many classes.
  digit(digit) {
    clearTimeout(this.typing);
    const joined = Number((this.digits ?? "") + digit);
    const label = joined < this.run.names.length ? joined : Number(digit);
    this.digits = String(label);
    this.typing = setTimeout(() => (this.digits = ""), 800);
    this.choose(label);
  }

  use(tool) {
    if (tool === "copy" && !this.run.other) return notify("start the review with --other RUN to copy from it", true);
    this.tool = tool;
    if (tool !== "sam") this.drop();
    for (const node of document.querySelectorAll("[data-tool]")) node.setAttribute("aria-pressed", node.dataset.tool === tool);
    field("stage").dataset.tool = tool;
    if (tool === "sam" && this.labels) this.encode();
    this.view.drawTop();
  }

  resize(size) {
    this.size = Math.min(200, Math.max(1, size));
    field("size").value = this.size;
    field("size-value").textContent = this.size;
    this.view.drawTop();
  }

  // -- changes

  // End a stroke that is still being painted, so that it is one of the changes.
  finish() {
    const change = this.gesture?.change;
    if (!change) return;
    this.gesture = null;
    this.apply(change);
  }

  apply(change) {
    this.finish();
    if (!change.count) return;
    change.resize(change.count);
    this.done.push(change);
    if (this.saved > this.done.length - 1) this.saved = -1;
    this.undone = [];
    let bytes = 0;
    for (let k = this.done.length - 1; k > 0; k--) {
      bytes += this.done[k].bytes;
      if (bytes > UNDO_BYTES) {
        this.done.splice(0, k);
        this.saved = this.saved >= k ? this.saved - k : -1;
        break;
      }
    }
    this.changed();
  }

  changed() {
    this.view.draw();
    this.describe();
  }

  undo(repeated = false) {
    this.finish();
    const change = this.done.pop();
    if (!change) return repeated ? undefined : this.moves.undoDecision();
    change.undo(this.labels);
    this.undone.push(change);
    this.changed();
  }

  redo() {
    this.finish();
    const change = this.undone.pop();
    if (!change) return;
    change.redo(this.labels);
    this.done.push(change);
    this.changed();
  }

  discard() {
    this.finish();
    if (!this.dirty) return;
    const change = new Change("discarded");
    this.stored.forEach((label, i) => change.set(this.labels, i, label));
    this.drop();
    // It can be undone like any change, although there is nothing to save now.
    this.apply(change);
    this.saved = this.done.length;
    this.describe();
    notify("unsaved changes discarded; u restores them");
  }

  fill(spans, label, what) {
    const { width } = this.view.image;
    const change = new Change(what);
    for (const [y, from, to] of spans) {
      for (let i = y * width + from; i < y * width + to; i++) change.set(this.labels, i, label);
    }
    this.apply(change);
  }

  inside({ x, y }) {
    const { width, height } = this.view.image;
    return x >= 0 && y >= 0 && x < width && y < height;
  }

  // Use the tool at a point of the image, as a click or the space bar does.
  press(at, negative) {
    if (!this.labels || !this.inside(at)) return;
    const { width, height } = this.view.image;
    const [x, y] = [Math.floor(at.x), Math.floor(at.y)];
    if (this.tool === "brush" || this.tool === "eraser") {
      const change = this.newStroke();
      stroke(change, this.labels, width, height, at, at, this.size / 2, this.paints);
      this.apply(change);
    } else if (this.tool === "region") {
      const from = this.labels[y * width + x];
      this.fill(region(this.labels, width, height, x, y), this.label, "region " + this.name(from) + " → " + this.name(this.label));
    } else if (this.tool === "copy") {
      this.copyRegion(x, y);
    } else if (this.tool === "sam") {
      this.prompt ??= { points: [], positive: [] };
      this.prompt.points.push([at.x, at.y]);
      this.prompt.positive.push(!negative);
      this.segment();
    }
  }

  get paints() {
    return this.tool === "eraser" ? 0 : this.label;
  }

  newStroke() {
    return new Change(this.tool === "eraser" ? "eraser" : "brush " + this.name(this.label));
  }

  // -- another run

  async otherLabels() {
    const id = this.wanted;
    this.other ??= (await map("/other", { id })).values;
    if (id !== this.wanted || !this.labels) throw new Error("another image has been opened");
    return this.other;
  }

  async copyRegion(x, y) {
    try {
      const { width, height } = this.view.image;
      const other = await this.otherLabels();
      const label = other[y * width + x];
      this.fill(region(other, width, height, x, y), label, "region " + this.name(label) + " from " + this.run.other);
    } catch (error) {
      notify(error.message, true);
    }
  }

  async copyAll() {
    if (!this.labels) return;
    if (!this.run.other) return notify("start the review with --other RUN to copy from it", true);
    try {
      const other = await this.otherLabels();
      const change = new Change("mask from " + this.run.other);
      other.forEach((label, i) => change.set(this.labels, i, label));
      this.apply(change);
      notify(change.count ? "mask of " + this.run.other + " copied" : "the mask of " + this.run.other + " is the same");
    } catch (error) {
      notify(error.message, true);
    }
  }

  // -- SAM

  async encode() {
    const id = this.wanted;
    const ticket = ++this.asking;
    this.showPrompt("encoding the image ...");
    try {
      await post("/api/encode", { id });
      if (ticket === this.asking && id === this.wanted) this.showPrompt();
    } catch (error) {
      if (ticket === this.asking) this.showPrompt(error.message);
    }
  }

  async segment() {
    const { prompt } = this;
    const id = this.wanted;
    const ticket = ++this.asking;
    if (!prompt.points.length && !prompt.box) return this.drop();
    this.view.drawTop();
    const slow = setTimeout(() => this.showPrompt("encoding the image ..."), 300);
    try {
      const found = await post("/api/segment", { id, points: prompt.points, positive: prompt.positive, box: prompt.box ?? null });
      if (ticket !== this.asking || this.prompt !== prompt || id !== this.wanted) return;
      prompt.masks = found.masks;
      this.showCandidate(0);
    } catch (error) {
      if (ticket === this.asking) this.showPrompt(error.message);
    } finally {
      clearTimeout(slow);
    }
  }

  showCandidate(k) {
    const { prompt } = this;
    if (!prompt?.masks) return;
    prompt.candidate = k % prompt.masks.length;
    this.view.image.proposal = decoded(prompt.masks[prompt.candidate].runs, this.labels.length);
    this.view.draw();
    this.showPrompt();
  }

  showPrompt(text) {
    const masks = this.prompt?.masks;
    field("prompt").hidden = this.tool !== "sam" || !this.labels;
    field("prompt-line").textContent =
      text ??
      (masks
        ? "candidate " + (this.prompt.candidate + 1) + " of " + masks.length + ", predicted IoU " + masks[this.prompt.candidate].score.toFixed(2)
        : "click on the object, or drag a box");
    field("take").disabled = !masks;
    field("drop").disabled = !this.prompt;
    field("candidate").hidden = !masks || masks.length < 2;
  }

  take() {
    const proposal = this.view.image?.proposal;
    if (!proposal) return;
    const change = new Change("SAM " + this.name(this.label));
    proposal.forEach((inside, i) => {
      if (inside) change.set(this.labels, i, this.label);
    });
    this.drop();
    this.apply(change);
  }

  drop() {
    this.prompt = null;
    this.asking++;
    this.beside(false);
    if (this.view.image) delete this.view.image.proposal;
    this.showPrompt();
    this.view.draw();
  }

  beside(on) {
    this.negative = on;
    field("negative").setAttribute("aria-pressed", on);
  }

  // A corner of a box; the second one completes it.
  corner(at) {
    if (this.tool !== "sam" || !this.labels) return;
    this.prompt ??= { points: [], positive: [] };
    const first = this.prompt.corner;
    if (!first) {
      this.prompt.corner = at;
      this.view.drawTop();
      return;
    }
    delete this.prompt.corner;
    this.frame(first, at);
  }

  frame(a, b) {
    const { width, height } = this.view.image;
    const within = (value, most) => Math.min(most, Math.max(0, value));
    this.prompt ??= { points: [], positive: [] };
    this.prompt.box = [
      within(Math.min(a.x, b.x), width), within(Math.min(a.y, b.y), height),
      within(Math.max(a.x, b.x), width), within(Math.max(a.y, b.y), height),
    ];
    delete this.prompt.drawn;
    this.segment();
  }

  // -- saving

  // What was changed, in a few words.
  get what() {
    const counts = new Map();
    for (const { what } of this.done.slice(Math.max(0, this.saved))) counts.set(what, (counts.get(what) ?? 0) + 1);
    const parts = [...counts].map(([what, count]) => (count > 1 ? what + " ×" + count : what));
    return parts.slice(0, 8).join(", ") + (parts.length > 8 ? " and more" : "") || "changes undone";
  }

  // Save the mask if it was changed, and a verdict. Returns whether that succeeded.
  async save(verdict = null) {
    while (this.saving) await this.saving;
    if (!this.labels) return false;
    this.finish();
    return this.alone(this.send(verdict));
  }

  // Whatever else saves waits for this.
  alone(request) {
    this.saving = request.finally(() => (this.saving = null));
    return this.saving;
  }

  async send(verdict) {
    const { detail, dirty } = this;
    const judged = verdict ?? (detail.outdated ? "open" : detail.verdict);
    const words = { accepted: "accepted", rejected: "rejected", open: "reopened" }[judged];
    const what = [verdict ? words : "", dirty ? this.what : ""].filter(Boolean).join(": ");
    const last = this.done.at(-1); // the mask may be changed while it is being saved
    const sent = dirty ? this.labels.slice() : null;
    const decision = {
      id: this.wanted, revision: detail.revision, base: detail.base, verdict: judged, what, by: this.moves.by(),
      size: detail.size, mask: dirty ? null : detail.mask, labels: dirty ? await deflated(sent) : null,
    };
    return this.post(decision, () => {
      if (sent) this.stored = sent;
      this.saved = last ? this.position(last) : 0;
    });
  }

  // The number of changes up to this one, also if it was undone; -1 if it can no longer be redone.
  position(change) {
    const [done, undone] = [this.done.indexOf(change), this.undone.indexOf(change)];
    if (done >= 0) return done + 1;
    return undone >= 0 ? this.done.length + this.undone.length - undone : -1;
  }

  async post(decision, saved, former = this.detail) {
    const before = stateBefore(former);
    try {
      const detail = await post("/api/decide", decision);
      this.moves.decided(detail, before);
      if (decision.id === this.wanted && this.detail) {
        this.detail = { ...detail, photo: this.detail.photo };
        saved();
        this.describe();
      }
      return true;
    } catch (error) {
      if (error instanceof Conflict) this.ask(error, decision, saved);
      else notify(error.message, true);
      return false;
    }
  }

  // Somebody else decided about the image, or another program changed its mask: nothing was saved yet.
  ask(conflict, decision, saved) {
    const shown = this.labels;
    field("conflict-line").textContent = conflict.message;
    field("theirs").onclick = async () => {
      field("conflict").close();
      await this.load(decision.id);
    };
    field("mine").onclick = async () => {
      field("conflict").close();
      try {
        const now = await get("/api/image", { id: decision.id });
        // The whole label map, as the mask of the run may have changed.
        const labels = decision.labels ?? (await deflated(shown));
        const what = decision.what || "kept";
        const again = { ...decision, revision: now.revision, base: now.base, labels, mask: null, what };
        await this.alone(this.post(again, saved, now));
      } catch (error) {
        notify(error.message, true);
      }
    };
    field("conflict").showModal();
  }

  async restore(verdict, mask, what) {
    if (!(await this.leave()) || !this.detail) return;
    const decision = {
      id: this.wanted, revision: this.detail.revision, base: this.detail.base, verdict, mask, labels: null,
      size: null, what: "restored: " + what.replace(/^restored: /, ""), by: this.moves.by(),
    };
    const { id } = decision;
    const former = stateBefore(this.detail);
    const restored = async () => this.moves.decided(await post("/api/decide", decision), former);
    await this.alone(restored().catch((error) => notify(error.message, true)));
    if (id === this.wanted) await this.load(id);
  }

  // Save before another image is shown. Returns whether the editor may be left.
  async leave() {
    while (this.saving) await this.saving;
    this.finish();
    while (this.dirty) { // again if it was changed while it was being saved
      if (!(await this.save())) return false;
      notify("saved: " + this.wanted);
    }
    return true;
  }

  async judge(verdict) {
    const id = this.wanted;
    while (this.saving) await this.saving;
    if (id !== this.wanted) return; // the next image is being loaded, and this verdict was not about it
    if (!(await this.save(verdict))) return;
    if (verdict !== "open" && id === this.wanted) this.moves.step(1);
  }

  // -- what is shown

  async showConfidence() {
    const { image } = this.view;
    if (!image) return;
    delete image.confidence;
    if (field("confidence").checked) {
      try {
        const found = await map("/confidence", { id: this.wanted });
        if (found.values.length !== image.labels.length) throw new Error("the confidence map has another size than the mask");
        if (field("confidence").checked) image.confidence = found.values;
      } catch (error) {
        field("confidence").checked = false;
        notify(error.message, true);
      }
    }
    this.view.draw();
  }

  rotate() {
    if (!this.labels) return;
    this.view.rotate(this.view.turn + 1);
    this.turns.set(this.wanted, this.view.turn);
  }

  look() {
    this.view.opacity = field("opacity").value / 100;
    this.view.outlines = field("outlines").checked;
    this.view.draw();
  }

  // -- input

  connect() {
    const clicks = {
      accept: () => this.judge("accepted"), reject: () => this.judge("rejected"), reopen: () => this.judge("open"),
      save: () => this.saveNow(), undo: () => this.undo(), redo: () => this.redo(), discard: () => this.discard(),
      "copy-all": () => this.copyAll(), fit: () => this.labels && this.view.fit(),
      rotate: () => this.rotate(), "zoom-in": () => this.view.zoom(1.4), "zoom-out": () => this.view.zoom(1 / 1.4),
      close: () => this.moves.close(), previous: () => this.moves.step(-1), next: () => this.moves.step(1),
      take: () => this.take(), candidate: () => this.showCandidate(this.prompt.candidate + 1),
      negative: () => this.beside(!this.negative), drop: () => this.drop(),
    };
    for (const [id, act] of Object.entries(clicks)) {
      field(id).addEventListener("click", () => {
        act();
        if (id !== "close" && document.activeElement === field(id)) field("stage").focus({ preventScroll: true });
      });
    }
    for (const node of document.querySelectorAll("[data-tool]")) {
      node.addEventListener("click", () => this.use(node.dataset.tool));
    }
    field("size").addEventListener("input", () => this.resize(Number(field("size").value)));
    field("opacity").addEventListener("input", () => this.look());
    field("outlines").addEventListener("input", () => this.look());
    field("confidence").addEventListener("input", () => this.showConfidence());
    for (const id of ["boxes", "dropped"]) field(id).addEventListener("input", () => this.view.drawTop());
    const stage = field("stage");
    stage.addEventListener("pointerdown", (event) => this.down(event));
    stage.addEventListener("pointermove", (event) => this.movePointer(event));
    for (const kind of ["pointerup", "pointercancel"]) stage.addEventListener(kind, (event) => this.up(event));
    stage.addEventListener("pointerleave", () => {
      if (this.pointers.size || this.byKeys) return;
      this.cursor = null;
      this.view.drawTop();
    });
    stage.addEventListener("contextmenu", (event) => event.preventDefault());
    stage.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        if (!this.labels) return;
        const box = stage.getBoundingClientRect();
        this.view.zoom(Math.exp(-event.deltaY / (event.deltaMode ? 20 : 400)), event.clientX - box.left, event.clientY - box.top);
      },
      { passive: false },
    );
  }

  async saveNow() {
    if (!this.labels) return;
    if (!this.dirty) return notify("nothing to save");
    if (await this.save()) notify("saved");
  }

  down(event) {
    if (!this.labels || event.target.closest("#prompt")) return;
    event.preventDefault();
    field("stage").focus({ preventScroll: true });
    field("stage").setPointerCapture(event.pointerId);
    const at = this.view.place(event.clientX, event.clientY);
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    this.byKeys = false;
    this.cursor = at;
    if (this.pointers.size > 1) return this.pinch();
    const moves = this.tool === "hand" || event.button === 1;
    this.gesture = { from: { x: event.clientX, y: event.clientY }, at, last: at, moves, negative: this.negative || event.altKey || event.button === 2 };
    if (!moves && (this.tool === "brush" || this.tool === "eraser") && event.button === 0) {
      const { width, height } = this.view.image;
      this.gesture.change = this.newStroke();
      stroke(this.gesture.change, this.labels, width, height, at, at, this.size / 2, this.paints);
      this.view.draw();
    }
  }

  // A second finger: what the first one began is undone.
  pinch() {
    this.gesture?.change?.undo(this.labels);
    if (this.prompt) delete this.prompt.drawn;
    this.gesture = { pinch: true };
    this.view.draw();
  }

  movePointer(event) {
    if (!this.labels) return;
    const at = this.view.place(event.clientX, event.clientY);
    const before = this.pointers.get(event.pointerId);
    if (!before) {
      this.byKeys = false;
      this.cursor = at;
      this.view.drawTop();
      return;
    }
    const now = { x: event.clientX, y: event.clientY };
    const { gesture } = this;
    if (gesture?.pinch) {
      const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
      this.pointers.set(event.pointerId, now);
      if (!other) return;
      const box = field("stage").getBoundingClientRect();
      const distance = (a, b) => Math.hypot(a.x - b.x, a.y - b.y) || 1;
      this.view.move((now.x - before.x) / 2, (now.y - before.y) / 2);
      this.view.zoom(distance(now, other) / distance(before, other), (now.x + other.x) / 2 - box.left, (now.y + other.y) / 2 - box.top);
      return;
    }
    this.pointers.set(event.pointerId, now);
    this.cursor = at;
    if (!gesture) return;
    if (gesture.moves) {
      this.view.move(now.x - before.x, now.y - before.y);
    } else if (gesture.change) {
      const { width, height } = this.view.image;
      stroke(gesture.change, this.labels, width, height, gesture.last, at, this.size / 2, this.paints);
      gesture.last = at;
      this.view.draw();
    } else if (this.tool === "sam" && this.isDrag(now)) {
      this.prompt ??= { points: [], positive: [] };
      this.prompt.drawn = [
        Math.min(gesture.at.x, at.x), Math.min(gesture.at.y, at.y), Math.max(gesture.at.x, at.x), Math.max(gesture.at.y, at.y),
      ];
      this.view.drawTop();
    }
  }

  isDrag(now) {
    return Math.hypot(now.x - this.gesture.from.x, now.y - this.gesture.from.y) > CLICK;
  }

  up(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    const { gesture } = this;
    if (gesture?.pinch) {
      if (!this.pointers.size) this.gesture = null;
      return;
    }
    this.gesture = null;
    if (!gesture || !this.labels) return;
    const now = { x: event.clientX, y: event.clientY };
    this.gesture = gesture;
    const dragged = this.isDrag(now);
    this.gesture = null;
    if (gesture.change) return this.apply(gesture.change);
    if (gesture.moves || event.type === "pointercancel") return;
    const at = this.view.place(event.clientX, event.clientY);
    if (this.tool === "sam" && dragged) this.frame(gesture.at, at);
    else if (!dragged) this.press(at, gesture.negative);
  }

  moveCursor(event, dx, dy) {
    if (!this.labels) return;
    const { width, height } = this.view.image;
    const step = event.ctrlKey ? 1 : 12 / this.view.scale;
    const [right, down] = this.view.step(dx * step, dy * step);
    const from = this.cursor ?? { x: width / 2, y: height / 2 };
    const within = (value, most) => Math.min(most - 0.5, Math.max(0.5, value));
    this.cursor = { x: within(from.x + right, width), y: within(from.y + down, height) };
    this.byKeys = true;
    this.view.reveal(this.cursor);
    this.view.drawTop();
  }

  key(event) {
    if (isElsewhere(event)) return;
    const { key } = event;
    const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
    if (arrow && event.shiftKey) {
      event.preventDefault();
      return this.moveCursor(event, ...arrow);
    }
    if (event.ctrlKey) {
      const act = { z: () => (event.shiftKey ? this.redo() : this.undo(event.repeat)), y: () => this.redo(), s: () => this.saveNow() }[key.toLowerCase()];
      if (act) {
        event.preventDefault();
        act();
      }
      return;
    }
    if (key === " ") {
      if (event.target.matches?.("button, input")) return; // which the space bar presses
      event.preventDefault();
      if (this.cursor) this.press(this.cursor, this.negative || event.altKey);
      return;
    }
    if (event.altKey || (event.repeat && ["a", "x", "o"].includes(key))) return; // one verdict per press
    if (event.target.matches?.("input[type=range]") && (arrow || key.startsWith("Page"))) return;
    if (key === "Enter" && event.target.matches?.("button, summary")) return;
    const flip = (id) => () => field(id).click();
    const turn = (id, by) => () => {
      field(id).value = Number(field(id).value) + by;
      this.look();
    };
    const sizes = (by) => () => {
      const larger = SIZES.find((size) => size > this.size) ?? 200;
      const smaller = SIZES.findLast((size) => size < this.size) ?? 1;
      this.resize(by > 0 ? larger : smaller);
    };
    const act = {
      ArrowRight: () => this.moves.step(1), ArrowLeft: () => this.moves.step(-1),
      a: () => this.judge("accepted"), x: () => this.judge("rejected"), o: () => this.judge("open"),
      s: () => this.saveNow(), u: () => this.undo(event.repeat), d: () => this.discard(),
      h: () => this.use("hand"), b: () => this.use("brush"), e: () => this.use("eraser"), g: () => this.use("region"),
      m: () => this.use("sam"), c: () => this.use("copy"), C: () => this.copyAll(),
      "[": sizes(-1), "]": sizes(1), f: () => this.labels && this.view.fit(), r: () => this.rotate(),
      "+": () => this.view.zoom(1.4), "=": () => this.view.zoom(1.4), "-": () => this.view.zoom(1 / 1.4),
      ",": turn("opacity", -10), ".": turn("opacity", 10), l: flip("outlines"), k: flip("confidence"), y: flip("boxes"),
      i: () => this.choose(IGNORE), n: () => this.beside(!this.negative), v: () => this.cursor && this.corner(this.cursor),
      t: () => this.prompt?.masks && this.showCandidate(this.prompt.candidate + 1), Enter: () => this.take(),
      "/": () => field("class-filter").focus(),
      Escape: () => (this.prompt ? this.drop() : this.moves.close()),
      Backspace: () => {
        if (!this.prompt) return;
        if (this.prompt.points.length) this.prompt.points.pop(), this.prompt.positive.pop();
        else delete this.prompt.box;
        this.segment();
      },
    }[key] ?? (/^[0-9]$/.test(key) ? () => this.digit(key) : null);
    if (!act) return;
    event.preventDefault();
    act();
  }
}
