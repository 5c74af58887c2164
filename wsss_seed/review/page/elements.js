// All data of a run enter the page as text, never as markup.

export const field = (id) => document.getElementById(id);

export function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

export function button(className, text, title) {
  const node = element("button", className, text);
  node.type = "button";
  if (title) node.title = title;
  return node;
}

export function option(value, text) {
  const node = element("option", "", text);
  node.value = value;
  return node;
}

export const percent = (share) => (100 * share).toFixed(share < 0.1 ? 1 : 0) + " %";

let fading = 0;

// A line at the bottom of the page: an error stays until the next line, a remark for some seconds.
export function notify(text, bad = false) {
  const line = field("notice");
  clearTimeout(fading);
  line.textContent = text;
  line.hidden = !text;
  line.classList.toggle("bad", bad);
  if (text && !bad) fading = setTimeout(() => (line.hidden = true), 4000);
}

// The words for what was decided about an image.
export function badges(card) {
  const parts = [];
  if (card.error) return [element("span", "badge bad", "failed")];
  if (card.outdated) parts.push(element("span", "badge warn", "outdated"));
  if (card.verdict === "accepted") parts.push(element("span", "badge good", "accepted"));
  if (card.verdict === "rejected") parts.push(element("span", "badge bad", "rejected"));
  if (card.mask) parts.push(element("span", "badge", "corrected"));
  return parts;
}
