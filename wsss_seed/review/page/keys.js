// All keys, as the page shows them. The modules that handle them name them by these texts.

import { element, field } from "./elements.js";

export const KEYS = {
  everywhere: [
    ["?", "show these keys"],
    ["a", "accept; in an image, then show the next"],
    ["x", "reject; in an image, then show the next"],
    ["o", "withdraw the verdict"],
    ["u, Ctrl+Z", "undo a change, or else the last decision of this window"],
  ],
  "in the list": [
    ["arrows", "move"],
    ["Enter", "open the image"],
    ["PageUp, PageDown", "previous, next page"],
    ["r", "reload the run"],
  ],
  "in an image": [
    ["→ ←", "next, previous image; changes are saved"],
    ["Esc", "discard the proposal, or return to the list"],
    ["s, Ctrl+S", "save the mask"],
    ["Ctrl+Y, Ctrl+Shift+Z", "redo"],
    ["d", "discard all unsaved changes"],
    ["0 to 9", "class by number; 1 and 2 in a row is 12"],
    ["i", "ignore (255) as the class"],
    ["/", "filter the classes"],
    ["f, +, -", "fit, zoom in, zoom out; also by wheel or two fingers"],
    ["r", "rotate the view by 90°; masks stay as they are stored"],
    [", .", "lower, raise the opacity of the mask"],
    ["l  k  y", "outlines, confidence, boxes"],
  ],
  tools: [
    ["h", "hand: move the picture"],
    ["b  e", "brush, eraser"],
    ["[ ]", "size of both"],
    ["g", "assign the class to the region under the pointer; 0 is background, i is ignore"],
    ["m", "SAM: click on the object, or drag a box"],
    ["c", "copy the region under the pointer from the other run"],
    ["Shift+C", "copy the whole mask of the other run"],
    ["Shift+arrows", "move the cursor, with Ctrl by single pixels"],
    ["Space", "use the tool at the cursor"],
  ],
  "with SAM": [
    ["Alt+click, Alt+Space", "a point outside the object"],
    ["n", "switch between points on the object and outside it"],
    ["v", "a corner of a box at the cursor; twice for a box"],
    ["Backspace", "remove the last point"],
    ["t", "next candidate"],
    ["Enter", "paint the proposal in the class"],
  ],
};

export function showKeys() {
  const lists = field("key-lists");
  if (!lists.childElementCount) {
    for (const [title, keys] of Object.entries(KEYS)) {
      const section = element("section");
      section.append(element("h3", "", title));
      const list = element("dl");
      for (const [key, meaning] of keys) list.append(element("dt", "", key), element("dd", "", meaning));
      section.append(list);
      lists.append(section);
    }
  }
  field("help").showModal();
}

// Whether a key is typed into a field or pressed in a dialog, or belongs to the browser.
export function isElsewhere(event) {
  if (document.querySelector("dialog[open]") || event.metaKey || event.isComposing) return true;
  return event.target.matches?.("input:not([type=checkbox], [type=range]), select, textarea") ?? false;
}
