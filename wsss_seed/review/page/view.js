// The picture on the stage: photograph, label map over it, and marks. Only what is visible is drawn, one pixel of the
// screen at a time, so that images of any size can be shown at any scale.

import { IGNORE } from "./labels.js";

const channels = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
const packed = (red, green, blue, alpha) => ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0; // little-endian

export const lighter = (colour) =>
  "#" + channels(colour).map((value) => Math.round(value + 0.35 * (255 - value)).toString(16).padStart(2, "0")).join("");

export class View {
  constructor(stage, photo, mask, marks, colours) {
    this.stage = stage;
    this.canvases = { photo, mask, marks };
    this.colours = colours;
    this.scale = 1; // pixels of the screen per pixel of the image
    this.left = this.top = 0; // of the image on the stage
    this.turn = 0; // quarter turns clockwise, as many photographs are stored turned
    this.opacity = 0.5;
    this.outlines = true;
    this.image = null; // { photo, labels, width, height, confidence, proposal }
    this.drawMarks = () => {};
    this.waiting = false;
    new ResizeObserver(() => this.resized()).observe(stage);
  }

  resized() {
    const ratio = devicePixelRatio;
    for (const canvas of Object.values(this.canvases)) {
      canvas.width = Math.max(1, Math.round(this.stage.clientWidth * ratio));
      canvas.height = Math.max(1, Math.round(this.stage.clientHeight * ratio));
    }
    if (this.image && this.fitted) this.fit();
    this.draw();
  }

  show(image) {
    this.image?.photo.close(); // or it stays in memory until garbage is collected
    this.image = image;
    this.canvases.mask.dataset.drawn = "";
    if (image) this.fit();
    this.draw();
  }

  fit() {
    const [width, height] = this.size;
    const [w, h] = [this.stage.clientWidth, this.stage.clientHeight];
    this.scale = Math.min((w - 16) / width, (h - 16) / height);
    if (this.scale <= 0) this.scale = 1;
    this.left = (w - width * this.scale) / 2;
    this.top = (h - height * this.scale) / 2;
    this.fitted = true;
    this.draw();
  }

  // Zoom by a factor and keep the point of the stage where it is.
  zoom(factor, x = this.stage.clientWidth / 2, y = this.stage.clientHeight / 2) {
    const least = Math.min(0.05, this.scale);
    const scale = Math.min(64, Math.max(least, this.scale * factor));
    this.left = x - ((x - this.left) * scale) / this.scale;
    this.top = y - ((y - this.top) * scale) / this.scale;
    this.scale = scale;
    this.fitted = false;
    this.draw();
  }

  move(dx, dy) {
    this.left += dx;
    this.top += dy;
    this.fitted = false;
    this.draw();
  }

  // Width and height of the image as it is turned.
  get size() {
    const { width, height } = this.image;
    return this.turn % 2 ? [height, width] : [width, height];
  }

  rotate(turn) {
    this.turn = (turn + 4) % 4;
    if (this.image) this.fit();
  }

  // A point of the window in pixels of the image.
  place(clientX, clientY) {
    const box = this.stage.getBoundingClientRect();
    const { width, height } = this.image;
    const [u, v] = [(clientX - box.left - this.left) / this.scale, (clientY - box.top - this.top) / this.scale];
    const [x, y] = [[u, v], [v, height - u], [width - u, height - v], [width - v, u]][this.turn];
    return { x, y };
  }

  // A point of the image on the stage.
  onStage({ x, y }) {
    const { width, height } = this.image;
    const [u, v] = [[x, y], [height - y, x], [width - x, height - y], [y, width - x]][this.turn];
    return [this.left + u * this.scale, this.top + v * this.scale];
  }

  // A step on the stage as one in the image.
  step(du, dv) {
    return [[du, dv], [dv, -du], [-du, -dv], [-dv, du]][this.turn];
  }

  // Move the picture as far as needed to show a pixel of the image.
  reveal(place) {
    const margin = 24;
    const [sx, sy] = this.onStage(place);
    const [w, h] = [this.stage.clientWidth, this.stage.clientHeight];
    const dx = sx < margin ? margin - sx : sx > w - margin ? w - margin - sx : 0;
    const dy = sy < margin ? margin - sy : sy > h - margin ? h - margin - sy : 0;
    if (dx || dy) this.move(dx, dy);
  }

  draw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.drawPhoto();
      this.drawMask();
      this.drawTop();
    });
  }

  // Only the marks, as when the pointer moves.
  drawTop() {
    const canvas = this.canvases.marks;
    const context = canvas.getContext("2d");
    context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (this.image) this.drawMarks(context, (place) => this.onStage(place));
  }

  drawPhoto() {
    const canvas = this.canvases.photo;
    const context = canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!this.image?.photo) return;
    const ratio = devicePixelRatio;
    const { photo, width, height } = this.image;
    context.imageSmoothingEnabled = this.scale * ratio < 3;
    context.imageSmoothingQuality = "medium";
    const [a, b, c, d, e, f] = [
      [1, 0, 0, 1, 0, 0], [0, 1, -1, 0, height, 0], [-1, 0, 0, -1, width, height], [0, -1, 1, 0, 0, width],
    ][this.turn];
    const scale = this.scale * ratio;
    context.setTransform(a * scale, b * scale, c * scale, d * scale, e * scale + this.left * ratio, f * scale + this.top * ratio);
    context.drawImage(photo, 0, 0, width, height);
  }

  // The column of the image at each column of the screen, or -1; and the same for rows.
  sampled(length, offset, count) {
    const ratio = devicePixelRatio;
    return Int32Array.from({ length }, (_, k) => {
      const at = Math.floor(((k + 0.5) / ratio - offset) / this.scale);
      return at >= 0 && at < count ? at : -1;
    });
  }

  palette(alpha) {
    const colours = new Uint32Array(256);
    this.colours.forEach((colour, label) => {
      colours[label] = packed(...channels(colour), alpha);
    });
    colours[0] = 0;
    colours[IGNORE] = packed(255, 255, 255, alpha);
    return colours;
  }

  // Outlines are lighter than areas, with a dark line on the side of the background.
  lines() {
    const colours = new Uint32Array(256);
    this.colours.forEach((colour, label) => {
      colours[label] = packed(...channels(lighter(colour)), 255);
    });
    colours[0] = packed(0, 0, 0, 170);
    colours[IGNORE] = packed(255, 255, 255, 255);
    return colours;
  }

  drawMask() {
    const canvas = this.canvases.mask;
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!this.image?.labels) return;
    const { labels, width, height, confidence, proposal, colour } = this.image;
    // Index of a pixel of the turned image: start + across * column + down * row.
    const [start, across, down] = [
      [0, 1, width], [(height - 1) * width, -width, 1], [height * width - 1, -1, -width], [width - 1, width, -1],
    ][this.turn];
    const columns = this.sampled(canvas.width, this.left, this.size[0]);
    const rows = this.sampled(canvas.height, this.top, this.size[1]);
    const first = columns.findIndex((x) => x >= 0);
    const top = rows.findIndex((y) => y >= 0);
    if (first < 0 || top < 0) return;
    const right = columns.findLastIndex((x) => x >= 0) + 1;
    const bottom = rows.findLastIndex((y) => y >= 0) + 1;
    const picture = context.createImageData(right - first, bottom - top);
    const out = new Uint32Array(picture.data.buffer);
    const [area, line] = [this.palette(Math.round(255 * this.opacity)), this.lines()];
    const [taken, rim] = [packed(...channels(colour ?? "#ffffff"), 140), packed(255, 255, 255, 255)];
    const step = Math.max(1, Math.round(2 * devicePixelRatio));
    let k = 0;
    for (let sy = top; sy < bottom; sy++) {
      const row = start + rows[sy] * down;
      const above = start + rows[Math.max(top, sy - step)] * down;
      const below = start + rows[Math.min(bottom - 1, sy + step)] * down;
      for (let sx = first; sx < right; sx++, k++) {
        const x = columns[sx] * across;
        const before = columns[Math.max(first, sx - step)] * across;
        const after = columns[Math.min(right - 1, sx + step)] * across;
        const i = row + x;
        if (proposal) {
          const inside = proposal[i];
          const edge =
            inside !== proposal[row + before] || inside !== proposal[row + after] ||
            inside !== proposal[above + x] || inside !== proposal[below + x];
          if (edge && inside) { out[k] = rim; continue; }
          if (inside) { out[k] = taken; continue; }
        }
        if (confidence) {
          const value = confidence[i];
          out[k] = packed(value, value, value, 255);
          continue;
        }
        const label = labels[i];
        out[k] = area[label];
        if (!this.outlines) continue;
        const edge =
          label !== labels[row + before] || label !== labels[row + after] ||
          label !== labels[above + x] || label !== labels[below + x];
        if (edge) out[k] = line[label];
      }
    }
    context.putImageData(picture, first, top);
    canvas.dataset.drawn = "yes";
  }
}
