// Label maps: arrays of bytes row by row. Canvases only show them, because what a script reads back from a canvas may
// have been altered by colour management or by protection against fingerprinting.

export const IGNORE = 255;

// Pixels that one step changes, each once, so that it can be undone and redone.
export class Change {
  constructor(what) {
    this.what = what;
    this.count = 0;
    this.at = new Uint32Array(1024);
    this.before = new Uint8Array(1024);
    this.after = new Uint8Array(1024);
  }

  set(labels, i, label) {
    if (labels[i] === label) return;
    if (this.count === this.at.length) this.resize(2 * this.count);
    this.at[this.count] = i;
    this.before[this.count] = labels[i];
    this.after[this.count] = label;
    this.count++;
    labels[i] = label;
  }

  resize(length) {
    for (const key of ["at", "before", "after"]) {
      const former = this[key];
      this[key] = new former.constructor(length);
      this[key].set(former.subarray(0, Math.min(length, this.count)));
    }
  }

  // Backwards, as a pixel may have changed twice in one step.
  undo(labels) {
    for (let k = this.count - 1; k >= 0; k--) labels[this.at[k]] = this.before[k];
  }

  redo(labels) {
    for (let k = 0; k < this.count; k++) labels[this.at[k]] = this.after[k];
  }

  get bytes() {
    return 6 * this.at.length;
  }
}

// Spans [y, from, to) of the region around a pixel: connected by edges, of one label.
export function region(labels, width, height, x, y) {
  const label = labels[y * width + x];
  const seen = new Uint8Array(labels.length);
  const spans = [];
  const open = [[x, y]];
  while (open.length) {
    const [cx, cy] = open.pop();
    const row = cy * width;
    if (seen[row + cx] || labels[row + cx] !== label) continue;
    let from = cx;
    while (from > 0 && labels[row + from - 1] === label) from--;
    let to = cx + 1;
    while (to < width && labels[row + to] === label) to++;
    seen.fill(1, row + from, row + to);
    spans.push([cy, from, to]);
    for (const near of [cy - 1, cy + 1]) {
      if (near < 0 || near >= height) continue;
      for (let k = from, inside = false; k < to; k++) {
        const same = labels[near * width + k] === label && !seen[near * width + k];
        if (same && !inside) open.push([k, near]);
        inside = same;
      }
    }
  }
  return spans;
}

// The pixels within a distance of a line between two points, in one label.
export function stroke(change, labels, width, height, from, to, radius, label) {
  const top = Math.max(0, Math.floor(Math.min(from.y, to.y) - radius));
  const bottom = Math.min(height - 1, Math.ceil(Math.max(from.y, to.y) + radius));
  const left = Math.max(0, Math.floor(Math.min(from.x, to.x) - radius));
  const right = Math.min(width - 1, Math.ceil(Math.max(from.x, to.x) + radius));
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const length = dx * dx + dy * dy;
  for (let y = top; y <= bottom; y++) {
    for (let x = left; x <= right; x++) {
      const [px, py] = [x + 0.5 - from.x, y + 0.5 - from.y];
      const t = length ? Math.min(1, Math.max(0, (px * dx + py * dy) / length)) : 0;
      const [ex, ey] = [px - t * dx, py - t * dy];
      if (ex * ex + ey * ey <= radius * radius) change.set(labels, y * width + x, label);
    }
  }
  // However small the brush, the pixel under the pointer is painted.
  const [x, y] = [Math.floor(to.x), Math.floor(to.y)];
  if (x >= 0 && y >= 0 && x < width && y < height) change.set(labels, y * width + x, label);
}

// A mask as an array of 0 and 1, from lengths of runs alternately outside and inside.
export function decoded(runs, size) {
  const mask = new Uint8Array(size);
  let at = 0;
  runs.forEach((length, k) => {
    if (k % 2) mask.fill(1, at, at + length);
    at += length;
  });
  return mask;
}

export async function deflated(labels) {
  const stream = new Blob([labels]).stream().pipeThrough(new CompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  let text = "";
  for (let at = 0; at < bytes.length; at += 32768) text += String.fromCharCode(...bytes.subarray(at, at + 32768));
  return btoa(text);
}
