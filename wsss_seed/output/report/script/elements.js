// Everything a run says enters the page as text or as the address of a picture, never as markup.

const field = (id) => document.getElementById(id);
const data = JSON.parse(field("data").textContent);

function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function button(className, text) {
  const node = element("button", className, text);
  node.type = "button";
  return node;
}

function percent(value) {
  return value === null || value === undefined ? "–" : (100 * value).toFixed(1) + " %";
}

function nameOf(label) {
  return data.names[label] ?? (label === 255 ? "ignored" : "label " + label);
}

function named(label, remark) {
  const name = element("span");
  const swatch = element("span", "swatch");
  swatch.style.background = data.colours[label] ?? data.ignored;
  name.append(swatch, nameOf(label) + (remark ? " " + remark : ""));
  return name;
}

// The figures of an image, and its classes.
function facts(card) {
  const parts = [];
  const fact = (text) => parts.push(element("span", "", text));
  if (data.against) {
    fact("differs in " + percent(card.differs));
    fact("IoU of A and B " + percent(card.agreement));
    if (data.compared) {
      fact("IoU of A " + percent(card.iou) + ", of B " + percent(card.other));
      fact("change " + (card.change > 0 ? "+" : "") + percent(card.change));
    }
  } else {
    if (data.compared) fact("IoU " + percent(card.iou));
    fact("uncertainty " + percent(card.uncertainty));
    fact("ignored " + percent(card.ignore));
  }
  fact(card.size.join(" × "));
  for (const label of card.labels) {
    if (label) parts.push(named(label, label in card.ious ? percent(card.ious[label]) : ""));
  }
  return parts;
}

const MISSED = {
  truth: "in the ground truth, without a mask: ",
  given: "in the given labels, without a mask: ",
  guessed: "perhaps missed: ",
};

// What the mask may have missed, and the remarks of the run.
function remarks(card) {
  const parts = [];
  if (card.missed.length) {
    const line = element("p", "missed", MISSED[card.missed[0][1]] ?? MISSED.guessed);
    for (const [label, source, score] of card.missed) {
      const remark = { clip: "(CLIP " + score.toFixed(2) + ")", box: "(box " + score.toFixed(2) + ")" }[source];
      line.append(named(label, remark), " ");
    }
    parts.push(line);
  }
  if (card.pairs.length && !data.against) {
    const line = element("p", "missed", "compete for the same place: ");
    for (const [one, other, , iou, first, second, undecided] of card.pairs) {
      const scores = first.toFixed(2) + " and " + second.toFixed(2);
      const remark = `(IoU ${iou.toFixed(2)}, scores ${scores}, ${percent(undecided)} undecided)`;
      const both = element("span");
      both.append(named(one), " and ", named(other, remark));
      line.append(both, " ");
    }
    parts.push(line);
  }
  for (const note of [...card.notes, card.trouble]) {
    if (note) parts.push(element("p", "hint", note));
  }
  return parts;
}
