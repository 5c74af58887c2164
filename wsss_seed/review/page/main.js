// The page: the list or one image, what the address says, and what other windows decide.

import { field, notify } from "./elements.js";
import { Editor } from "./editor.js";
import { Grid } from "./grid.js";
import { isElsewhere, showKeys } from "./keys.js";
import { Conflict, get, post, stateBefore } from "./server.js";

const EVERY = 3000; // milliseconds between questions about the decisions of others

let grid, editor;
let own = []; // decisions of this window that can be undone: { id, verdict, mask, revision }
let showing = ""; // the image that is open; empty for the list
let queue = Promise.resolve(); // decisions in the list, one after the other

const inOrder = (act) => (queue = queue.then(act, act));

// The token is in a cookie now.
if (new URLSearchParams(location.search).has("token")) history.replaceState(null, "", "/" + location.hash);

// -- the address

const FILTERS = { state: "all", order: "doubt", label: "", note: "", name: "" };

function writeAddress(push = false) {
  const query = grid.query;
  const parts = new URLSearchParams();
  for (const [key, usual] of Object.entries(FILTERS)) {
    const value = String(query[key] ?? "");
    if (value !== usual) parts.set(key, value);
  }
  if (grid.page) parts.set("page", grid.page + 1);
  if (showing) parts.set("image", showing);
  const wanted = "#" + parts;
  if (location.hash === wanted || (wanted === "#" && !location.hash)) return;
  history[push ? "pushState" : "replaceState"](null, "", "/" + (wanted === "#" ? "" : wanted));
}

async function readAddress() {
  const parts = new URLSearchParams(location.hash.slice(1));
  const image = parts.get("image") ?? "";
  if (!(await leaveEditor())) return writeAddress(true);
  grid.query = Object.fromEntries(Object.entries(FILTERS).map(([key, usual]) => [key, parts.get(key) ?? usual]));
  grid.last = image;
  await grid.load(Math.max(0, (Number(parts.get("page")) || 1) - 1));
  if (image) await openImage(image, false);
  else showGrid();
}

// -- the list or one image

async function leaveEditor() {
  return showing === "" || (await editor.leave());
}

function showGrid() {
  showing = "";
  editor.wanted = "";
  editor.loading++; // what is being loaded is not wanted any more
  editor.clear();
  field("editor-screen").hidden = true;
  field("grid-screen").hidden = false;
  document.title = grid.run.title + " – review";
  writeAddress();
}

async function closeImage() {
  const id = showing;
  if (!(await leaveEditor())) return;
  showGrid();
  grid.last = id;
  await grid.load();
  grid.last = "";
  grid.focus(id);
}

async function openImage(id, push = true) {
  if (showing !== id && !(await leaveEditor())) return;
  const from = showing;
  showing = id;
  field("grid-screen").hidden = true;
  field("editor-screen").hidden = false;
  const place = grid.ids.indexOf(id);
  field("image-place").textContent = place < 0 ? "" : place + 1 + " of " + grid.ids.length;
  field("previous").disabled = grid.beside(id, -1) === undefined;
  field("next").disabled = grid.beside(id, 1) === undefined;
  document.title = id + " – review";
  writeAddress(push && !from);
  field("stage").focus({ preventScroll: true });
  await editor.load(id);
}

async function step(by) {
  const next = grid.beside(showing, by);
  if (next !== undefined) return openImage(next);
  if (await leaveEditor()) notify(by > 0 ? "this is the last image in the list" : "this is the first image in the list");
}

// -- decisions

function decided(detail, before) {
  own.push({ ...before, revision: detail.revision });
  if (own.length > 1000) own = own.slice(-500);
  return grid.refresh([detail.id]).catch((error) => notify(error.message, true));
}

// The verdict of an image in the list.
const decide = (id, verdict) => inOrder(() => decideNow(id, verdict));

async function decideNow(id, verdict) {
  try {
    const detail = await get("/api/image", { id });
    if (detail.error) return notify(detail.error, true);
    const { base, mask } = detail;
    const revision = grid.cards.get(id)?.revision ?? detail.revision; // of the decision that the card shows
    const what = { accepted: "accepted", rejected: "rejected", open: "reopened" }[verdict];
    const now = await post("/api/decide", { id, revision, base, verdict, mask, what, by: by() });
    await decided(now, stateBefore(detail));
  } catch (error) {
    notify(error.message, true);
    if (error instanceof Conflict) await grid.refresh([id]).catch(() => {});
  }
}

// Undo the last decision of this window, unless somebody else has decided since.
const undoDecision = () => inOrder(undoNow);

async function undoNow() {
  if (editor.saving) await editor.saving;
  const last = own.pop();
  if (!last) return notify("nothing to undo");
  try {
    const { base } = await get("/api/image", { id: last.id });
    const { id, revision, verdict, mask } = last;
    const now = await post("/api/decide", { id, revision, base, verdict, mask, what: "undone", by: by() });
    const former = own.findLast((decision) => decision.id === id);
    if (former?.revision === revision - 1) former.revision = now.revision; // which is the state that it left
    await grid.refresh([id]);
    notify("the last decision was undone: " + id);
    if (!showing) grid.focus(id);
    else if (showing === id || (await leaveEditor())) await openImage(id);
  } catch (error) {
    notify(error.message, true);
  }
}

function by() {
  return field("by").value.trim();
}

// -- others

async function lookAround() {
  try {
    if (!document.hidden && grid.decisions !== undefined) {
      const { decisions, ids, counts, grown } = await get("/api/changes", { since: grid.decisions });
      grid.decisions = decisions;
      field("reload").classList.toggle("news", grown);
      field("reload").title = grown ? "the run has new images (r)" : "reload the run (r)";
      if (counts) grid.count(counts);
      if (ids.length) await grid.refresh(ids);
      const busy = () => !editor.detail || editor.saving || editor.gesture || field("conflict").open;
      if (showing && ids.includes(showing) && !busy()) {
        const now = await get("/api/image", { id: showing });
        if (now.id === editor.wanted && !busy() && now.revision > editor.detail.revision) {
          if (editor.dirty) notify((now.by || "somebody") + " has changed this image; you can choose whose changes to keep when you save", true);
          else {
            await editor.load(showing);
            notify((now.by || "somebody") + " has changed this image; it has been reloaded");
          }
        }
      }
    }
    if (field("notice").dataset.lost) {
      delete field("notice").dataset.lost;
      notify("");
    }
  } catch (error) {
    if (error.message.startsWith("the server is not responding")) field("notice").dataset.lost = "yes";
    notify(error.message, true);
  }
  setTimeout(lookAround, EVERY);
}

// -- start

async function start() {
  const run = await get("/api/run");
  editor = new Editor(run, { close: closeImage, step, decided, by, undoDecision, canUndo: () => own.length > 0 });
  grid = new Grid(run, decide, openImage);
  grid.changed = () => writeAddress();
  let name = null;
  try {
    name = localStorage.getItem("wsss-seed-review-by");
  } catch { /* storage is switched off */ }
  field("by").value = name ?? run.by;
  field("by").addEventListener("input", () => {
    try {
      localStorage.setItem("wsss-seed-review-by", by());
    } catch { /* storage is switched off */ }
  });
  for (const node of document.querySelectorAll(".help-button")) node.addEventListener("click", showKeys);
  for (const node of document.querySelectorAll(".close-dialog")) {
    node.addEventListener("click", () => node.closest("dialog").close());
  }
  document.addEventListener("keydown", (event) => {
    if (event.key === "?" && !isElsewhere(event)) {
      event.preventDefault();
      showKeys();
    } else if (showing) {
      editor.key(event);
    } else if (!isElsewhere(event) && (event.key === "u" || (event.ctrlKey && event.key === "z"))) {
      event.preventDefault();
      if (!event.repeat) undoDecision();
    } else {
      grid.key(event);
    }
  });
  addEventListener("beforeunload", (event) => {
    if (editor.dirty || editor.saving) event.preventDefault();
  });
  addEventListener("popstate", readAddress);
  await readAddress();
  if (!showing) showGrid();
  if (!showing) grid.focus("");
  lookAround();
}

start().catch((error) => notify(error.message, true));
