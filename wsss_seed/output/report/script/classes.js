// The table of classes: sorted by a click on a heading, the address says by which; "-iou" is the highest IoU first.
// A class opens its details below its row, one class at a time.

const table = field("class-table");
const rows = [...table.tBodies[0].rows];
const MANY = 25; // rows from which the table has a search of its own
const RIVALS = 12; // competing classes in the details of a class; the list of pairs has all
const headings = [...table.tHead.rows[0].cells].filter((cell) => cell.dataset.key);

function startClasses() {
  for (const heading of headings) {
    const key = heading.dataset.key;
    const press = button("sort", heading.textContent);
    press.addEventListener("click", () => {
      const first = key === "class" ? key : "-" + key;
      const second = key === "class" ? "-" + key : key;
      change({ sort: { [first]: second, [second]: "" }[state.sort] ?? first });
    });
    heading.replaceChildren(press);
  }
  for (const row of rows) {
    const label = row.dataset.label;
    if (!(label in data.details)) {
      if (Object.keys(data.details).length) row.cells[0].prepend(element("span", "details"));
      continue;
    }
    const press = button("details", "");
    press.setAttribute("aria-label", "details of " + nameOf(Number(label)));
    const toggle = () => change({ detail: state.detail === label ? "" : label });
    press.addEventListener("click", toggle);
    row.addEventListener("click", (event) => {
      if (!event.target.closest("button")) toggle();
    });
    row.classList.add("opens");
    row.cells[0].prepend(press);
  }
  if (rows.length > MANY) {
    table.parentElement.classList.add("tall");
    field("class-search").hidden = false;
    field("class-name").addEventListener("input", renderClasses);
  }
}

// The details of a class, as a row of the table.
function detailRow(label) {
  const found = data.details[label];
  const row = element("tr", "detail");
  const cell = element("td");
  cell.colSpan = headings.length + 1;
  const line = (...content) => {
    const paragraph = element("p");
    paragraph.append(...content);
    cell.append(paragraph);
  };
  if (found.images) {
    const press = button("class", found.images + (found.images === 1 ? " image" : " images"));
    press.addEventListener("click", () => showImages({ class: String(label), show: "", pair: "" }));
    const area = `: ${percent(found.mean_share)} of their area on average, ${percent(found.largest_share)} at most; `;
    line(press, area + "mean confidence " + percent(1 - found.uncertainty));
  } else {
    line("No mask has pixels of it.");
  }
  const { confident, ambiguous, dropped } = found.boxes;
  const boxes = confident + ambiguous + dropped;
  if (boxes) {
    line(`${boxes} ${boxes === 1 ? "box" : "boxes"}: ${confident} painted, ${ambiguous} ambiguous, ${dropped} dropped`);
    const reasons = element("ul", "reasons");
    for (const [reason, number] of found.reasons) {
      const item = element("li");
      const bar = element("span", "amount");
      bar.style.width = 6 * Math.max(0.02, number / boxes) + "rem";
      item.append(element("b", "", String(number)), bar, reason);
      reasons.append(item);
    }
    cell.append(reasons);
  }
  if (found.rivals.length) {
    const rivals = found.rivals.slice(0, RIVALS).flatMap(([rival, images]) => {
      const pair = [Number(label), rival].sort((a, b) => a - b).join("-");
      const press = button("class", `${nameOf(rival)} in ${images} ${images === 1 ? "image" : "images"}`);
      press.dataset.pair = pair;
      press.addEventListener("click", () => showImages({ class: "", show: "", pair }));
      return [press, ", "];
    });
    const more = found.rivals.length - RIVALS;
    line("competes for the same place with ", ...rivals.slice(0, -1), more > 0 ? ` and ${more} more` : "");
  }
  row.append(cell);
  return row;
}

function renderClasses() {
  const down = state.sort.startsWith("-");
  const key = down ? state.sort.slice(1) : state.sort;
  const value = (row) => {
    const cell = row.querySelector(`[data-${key}]`);
    if (key === "class") return cell.dataset.class;
    return cell.dataset[key] === "" ? null : Number(cell.dataset[key]);
  };
  const compare = (a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === null || y === null) return (x === null) - (y === null); // rows without a figure come last either way
    return (key === "class" ? x.localeCompare(y) : x - y) * (down ? -1 : 1);
  };
  for (const heading of headings) {
    if (heading.dataset.key === key) heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    else heading.removeAttribute("aria-sort");
  }
  const known = headings.some((heading) => heading.dataset.key === key);
  const text = field("class-name").value.trim().toLowerCase();
  const shown = [];
  for (const row of known ? [...rows].sort(compare) : rows) {
    row.hidden = !row.querySelector("[data-class]").dataset.class.toLowerCase().includes(text);
    const open = row.dataset.label === state.detail;
    row.querySelector("button.details")?.setAttribute("aria-expanded", open);
    shown.push(row);
    if (open && !row.hidden) shown.push(detailRow(state.detail));
  }
  if (!document.activeElement?.closest("#class-table")) table.tBodies[0].replaceChildren(...shown);
  else keepFocus(() => table.tBodies[0].replaceChildren(...shown));
}

function keepFocus(act) {
  const focused = document.activeElement;
  act();
  focused.focus({ preventScroll: true });
}
