// The enlarged view of one image: photograph, labels with outline, and boxes.

const viewer = field("viewer");
let last = ""; // the image that was open

// What each view shows: a label map, or what two of them give.
const VIEWS = {
  mask: { maps: ["mask"] },
  other: { maps: ["other"] },
  truth: { maps: ["truth"] },
  confidence: { maps: [] },
  errors: { maps: ["truth", "mask"], combine: errors },
  othererrors: { maps: ["truth", "other"], combine: errors },
  difference: { maps: ["mask", "other"], combine: differences },
};
const BESIDE = { beside: ["mask", "other", "difference"] };

// The panels of the enlarged view: a photograph, and a canvas for labels in colour with their outlines.
const panels = [...document.querySelectorAll(".panel")].map((figure) => ({
  figure,
  caption: figure.querySelector("figcaption"),
  stage: figure.querySelector(".stage"),
  photo: figure.querySelector("img"),
  canvas: figure.querySelector("canvas"),
  drawing: null,
}));

function openCard(card, view) {
  change({ open: card.id, view: ALLOWED.view.includes(view) ? view : DEFAULTS.view }, true);
}

function renderViewer() {
  const card = data.cards.find((card) => card.id === state.open);
  if (!card) {
    state.open = "";
    if (viewer.open) viewer.close();
    if (last) returnTo(last);
    return;
  }
  const loading = complete([card]);
  if (loading) {
    loading.then(() => renderViewer(), trouble);
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
  const available = (view) => card.pictures.truth || !VIEWS[view]?.maps.includes("truth");
  const view = available(state.view) ? state.view : DEFAULTS.view;
  const views = BESIDE[view] ?? [view];
  field("view").value = view;
  field("outline").disabled = views.every((name) => name === "confidence" || VIEWS[name].combine);
  if (field("viewer-legend")) field("viewer-legend").hidden = !views.some((name) => VIEWS[name].combine);
  field("stages").style.setProperty("--panels", views.length);
  panels.forEach((panel, at) => {
    const name = views[at];
    panel.figure.hidden = !name;
    panel.drawing = null;
    if (!name) return;
    panel.caption.hidden = views.length === 1;
    panel.caption.textContent = [...field("view").options].find((option) => option.value === name).textContent;
    panel.stage.classList.toggle("dim", Boolean(VIEWS[name].combine));
    panel.stage.style.setProperty("--ratio", card.size[0] / card.size[1]);
  });
  draw();
  const waiting = enlargement(card);
  let large = waiting;
  if (waiting instanceof Promise) {
    try {
      large = await waiting;
    } catch (error) {
      trouble(error);
      return;
    }
    if (state.open !== card.id || field("view").value !== view) return; // another one was opened meanwhile
  }
  const [width, height] = large.size;
  views.forEach((name, at) => {
    panels[at].photo.src = name === "confidence" ? card.pictures.confidence : large.photo;
    panels[at].photo.alt = name + " of " + card.id;
  });
  const needed = [...new Set(views.flatMap((name) => VIEWS[name].maps))];
  const maps = new Map(await Promise.all(needed.map(async (name) => [name, await inflate(large[name])])));
  if (state.open !== card.id || field("view").value !== view) return;
  views.forEach((name, at) => {
    const { maps: wanted, combine } = VIEWS[name];
    const labels = wanted.map((name) => maps.get(name));
    if (combine) {
      const colours = coloured(combine(...labels), width, height, data.errorColours);
      panels[at].drawing = { colours, paths: new Map() };
    } else if (labels.length) {
      const colours = coloured(labels[0], width, height, data.colours);
      panels[at].drawing = { colours, paths: outlines(labels[0], width, height) };
    }
  });
  draw();
}

function draw() {
  for (const panel of panels) drawPanel(panel);
}

function drawPanel({ canvas, drawing }) {
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
  gallery.children[place % PAGE]?.querySelector("button").focus(); // none yet, while its page is loaded
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
  const resized = new ResizeObserver(draw);
  for (const panel of panels) resized.observe(panel.canvas);
}
