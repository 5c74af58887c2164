// All keys, as the page shows them. The modules that handle them name them by these texts.

import { element, field } from "./elements.js";

export const KEYS = {
  "in both": [
    ["?", "these keys"],
    ["a", "accept; in an image also show the next"],
    ["x", "reject; in an image also show the next"],
    ["o", "take the verdict back"],
    ["u, Ctrl+Z", "undo a change, or the last decision made in this window"],
  ],
  "in the list": [
    ["arrows", "move"],
    ["Enter", "open the image"],
    ["PageUp, PageDown", "turn the page"],
    ["r", "read the run again"],
  ],
  "in an image": [
    ["→ ←", "next, previous image; changes are saved"],
    ["Esc", "drop the proposal, or back to the list"],
    ["s, Ctrl+S", "save the mask"],
    ["Ctrl+Y, Ctrl+Shift+Z", "redo"],
    ["d", "drop all unsaved changes"],
    ["0 to 9", "class by number; 1 and 2 in a row is 12"],
    ["i", "the class is ignore (255)"],
    ["/", "look for a class"],
    ["f, +, -", "fit, enlarge, reduce; also the wheel or two fingers"],
    ["r", "turn the view by 90°; masks stay as they are stored"],
    [", .", "less, more opacity of the mask"],
    ["l  k  y", "outlines, confidence, boxes"],
  ],
  tools: [
    ["h", "hand: move the picture"],
    ["b  e", "brush, eraser"],
    ["[ ]", "size of both"],
    ["g", "region under the pointer to the class, also background (0) and ignore (i)"],
    ["m", "SAM: click on the object, or drag a box"],
    ["c", "copy the region under the pointer from the other run"],
    ["Shift+C", "copy the whole mask of the other run"],
    ["Shift+arrows", "move the pointer by keys, with Ctrl by single pixels"],
    ["Space", "use the tool at the pointer"],
  ],
  "with SAM": [
    ["Alt+click, Alt+Space", "a point beside the object"],
    ["n", "the next points are beside the object, or on it"],
    ["v", "a corner of a box at the pointer; twice for a box"],
    ["Backspace", "remove the last point"],
    ["t", "next candidate"],
    ["Enter", "take the proposal into the class"],
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
