// The enlarged view of one image: photograph, labels with outline, and boxes.

const viewer = field("viewer");
const canvas = field("labels");
let last = ""; // the image that was open
let enlargements = null; // parsed when first needed
let drawing = null; // what is on the canvas: the labels in colour, and their outlines

function openCard(card, view) {
  change({ open: card.id, view: ALLOWED.view.includes(view) ? view : "mask" }, true);
}

function renderViewer() {
  const card = data.cards.find((card) => card.id === state.open);
  if (!card) {
    state.open = "";
    if (viewer.open) viewer.close();
    if (last) returnTo(last);
    return;
  }
  last = card.id;
  if (!viewer.open) viewer.showModal();
  const place = cards.indexOf(card);
  field("viewer-title").textContent = card.id;
  field("viewer-place").textContent = place < 0 ? "" : place + 1 + " of " + cards.length;
  field("viewer-previous").disabled = place <= 0;
  field("viewer-next").disabled = place < 0 || place === cards.length - 1;
  field("viewer-facts").replaceChildren(...facts(card));
  field("viewer-notes").replaceChildren(...remarks(card));
  renderBoxes(card);
  renderPicture(card);
}

async function renderPicture(card) {
  const stage = field("stage");
  const view = (state.view === "truth" || state.view === "errors") && !card.pictures.truth ? "mask" : state.view;
  enlargements ??= JSON.parse(field("enlarged").textContent);
  const large = enlargements[data.cards.indexOf(card)];
  const [width, height] = large.size;
  field("view").value = view;
  field("outline").disabled = view === "confidence" || view === "errors";
  stage.classList.toggle("dim", view === "errors");
  if (field("viewer-legend")) field("viewer-legend").hidden = view !== "errors";
  stage.style.setProperty("--ratio", card.size[0] / card.size[1]);
  field("photo").src = view === "confidence" ? card.pictures.confidence : large.photo;
  field("photo").alt = view + " of " + card.id;
  drawing = null;
  draw();
  if (view === "confidence") return;
  const maps = view === "errors" ? ["truth", "mask"] : [view];
  const labels = await Promise.all(maps.map((name) => inflate(large[name])));
  if (state.open !== card.id || field("view").value !== view) return; // another one was opened meanwhile
  drawing =
    view === "errors"
      ? { colours: coloured(errors(...labels), width, height, data.errorColours), paths: new Map() }
      : { colours: coloured(labels[0], width, height, data.colours), paths: outlines(labels[0], width, height) };
  draw();
}

function draw() {
  const context = canvas.getContext("2d");
  canvas.width = Math.round(canvas.clientWidth * devicePixelRatio);
  canvas.height = Math.round(canvas.clientHeight * devicePixelRatio);
  canvas.dataset.drawn = drawing ? "yes" : "";
  if (!drawing || !canvas.width) return;
  const { colours, paths } = drawing;
  context.imageSmoothingEnabled = false;
  context.globalAlpha = field("viewer-opacity").value / 100;
  context.drawImage(colours, 0, 0, canvas.width, canvas.height);
  if (!field("outline").checked) return;
  const scale = canvas.width / colours.width;
  context.globalAlpha = 1;
  context.setTransform(scale, 0, 0, canvas.height / colours.height, 0, 0);
  context.lineCap = "square";
  for (const [ink, width] of [["#000", 4], [null, 2]]) {
    for (const [label, path] of paths) {
      context.strokeStyle = ink ?? data.colours[label] ?? data.ignored;
      context.lineWidth = (width * devicePixelRatio) / scale;
      context.stroke(path);
    }
  }
}

const ROLES = { confident: "painted", ambiguous: "ambiguous", dropped: "dropped" };

function renderBoxes(card) {
  if (!data.boxes) return;
  const [width, height] = card.size;
  const layer = field("drawn-boxes");
  const rows = field("box-rows");
  layer.replaceChildren();
  rows.replaceChildren();
  card.boxes.forEach((found, at) => {
    const label = data.names.indexOf(found.cls);
    const [x0, y0, x1, y1] = found.box;
    const box = element("div", "box " + found.role);
    const share = (part, whole) => Math.min(100, Math.max(0, (100 * part) / whole));
    box.style.left = share(x0, width) + "%";
    box.style.top = share(y0, height) + "%";
    box.style.right = 100 - share(x1, width) + "%";
    box.style.bottom = 100 - share(y1, height) + "%";
    const colour = found.role === "dropped" || label < 0 ? "#d0d0d0" : data.colours[label];
    box.style.setProperty("--ink", colour);
    box.style.setProperty("--on-ink", dark(colour) ? "#fff" : "#000");
    box.classList.toggle("inside", y0 < 0.08 * height);
    box.classList.toggle("leftwards", x0 > 0.6 * width);
    box.append(element("span", "", at + 1 + " " + found.cls + " " + found.final.toFixed(2)));
    layer.prepend(box); // the best ones on top

    const row = element("tr", found.role);
    const name = element("th", "", found.cls);
    name.scope = "row";
    const phrases = data.phrases[found.cls];
    if (phrases) name.append(element("span", "hint", " asked as " + phrases.join(", ")));
    row.append(element("td", "number", at + 1), name);
    for (const [key, title] of [["score", "detector"], ["crop", "crop"], ["final", "combined"]]) {
      const cell = element("td", "number", found[key] === null ? "–" : found[key].toFixed(3));
      cell.dataset.name = title; // shown where the window is too narrow for a table
      row.append(cell);
    }
    row.append(element("td", "", ROLES[found.role] + ": " + found.why));
    const mark = (on) => () => {
      box.classList.toggle("marked", on);
      row.classList.toggle("marked", on);
    };
    for (const node of [box, row]) {
      node.addEventListener("pointerenter", mark(true));
      node.addEventListener("pointerleave", mark(false));
    }
    rows.append(row);
  });
  const dropped = card.boxes.filter((box) => box.role === "dropped").length;
  field("boxes-count").textContent = card.boxes.length - dropped;
  field("dropped-count").textContent = dropped;
  field("boxes").disabled = card.boxes.length === dropped;
  field("dropped").disabled = dropped === 0;
  field("box-list").hidden = !card.boxes.length;
  field("no-boxes").hidden = card.boxes.length > 0;
}

function dark(colour) {
  const [red, green, blue] = channels(colour);
  return 0.299 * red + 0.587 * green + 0.114 * blue < 140;
}

// Show and focus the card of an image in the gallery.
function returnTo(id) {
  last = "";
  const place = cards.findIndex((card) => card.id === id);
  if (place < 0) return;
  const page = Math.floor(place / PAGE) + 1;
  if (page !== state.page) change({ page });
  gallery.children[place % PAGE].querySelector("button").focus();
}

function stepViewer(by) {
  const place = cards.findIndex((card) => card.id === state.open);
  const next = place < 0 ? undefined : cards[place + by];
  if (next) change({ open: next.id });
}

function startViewer() {
  field("viewer-previous").addEventListener("click", () => stepViewer(-1));
  field("viewer-next").addEventListener("click", () => stepViewer(1));
  field("viewer-close").addEventListener("click", () => viewer.close());
  viewer.addEventListener("click", (event) => {
    if (event.target === viewer) viewer.close(); // beside the dialog
  });
  viewer.addEventListener("keydown", (event) => {
    if (event.target.matches("select, input[type=range]") || event.altKey || event.ctrlKey || event.metaKey) return;
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by) {
      event.preventDefault();
      stepViewer(by);
    }
  });
  viewer.addEventListener("close", () => {
    if (state.open) undo({ open: "", view: DEFAULTS.view });
  });
  field("view").addEventListener("input", () => change({ view: field("view").value }));
  field("outline").addEventListener("input", draw);
  for (const [id, name] of [["boxes", "without-boxes"], ["dropped", "without-dropped"]]) {
    const box = field(id);
    if (!box) continue;
    const show = () => field("stage").classList.toggle(name, !box.checked);
    box.addEventListener("input", show);
    show();
  }
  new ResizeObserver(draw).observe(canvas);
}
