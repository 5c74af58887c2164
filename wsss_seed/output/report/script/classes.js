// The table of classes: sorted by a click on a heading, the address says by which; "-iou" is the highest IoU first.

const table = field("class-table");
const rows = [...table.tBodies[0].rows];
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
  table.tBodies[0].replaceChildren(...(known ? [...rows].sort(compare) : rows));
}
