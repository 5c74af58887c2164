// Label maps of the enlarged view: an array of labels row by row.

const IGNORED = 255;

async function inflate(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function errors(truth, mask) {
  const kind = data.kinds;
  return truth.map((wanted, i) => {
    if (wanted === IGNORED) return kind.uncounted;
    if (mask[i] === IGNORED) return kind.undecided;
    return wanted === mask[i] ? 0 : kind.wrong;
  });
}

// Where two runs differ: in the class, or in whether a pixel has one.
function differences(mask, other) {
  const kind = data.kinds;
  return mask.map((label, i) => {
    if (label === other[i]) return 0;
    return label === IGNORED || other[i] === IGNORED ? kind.undecided : kind.wrong;
  });
}

function channels(colour) {
  return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
}

// A canvas of one pixel per label; 0 is transparent.
function coloured(labels, width, height, colours) {
  const canvas = element("canvas");
  canvas.width = width;
  canvas.height = height;
  const pixels = new ImageData(width, height);
  const rgb = Array.from({ length: 256 }, (_, label) => channels(colours[label] ?? data.ignored));
  labels.forEach((label, i) => {
    if (label) pixels.data.set([...rgb[label], 255], 4 * i);
  });
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}

// The borders of the regions of each label, as paths along the edges of pixels.
function outlines(labels, width, height) {
  const paths = new Map();
  const line = (label, x0, y0, x1, y1) => {
    if (!label) return;
    if (!paths.has(label)) paths.set(label, new Path2D());
    paths.get(label).moveTo(x0, y0);
    paths.get(label).lineTo(x1, y1);
  };
  // Along each line between two rows (step 1, across width) or two columns, edges between the same labels are merged.
  const scan = (count, length, step, across, draw) => {
    for (let k = 1; k < count; k++) {
      for (let i = 0; i < length; ) {
        const at = k * across + i * step;
        const [a, b] = [labels[at - across], labels[at]];
        let end = i + 1;
        while (end < length && labels[at - across + (end - i) * step] === a && labels[at + (end - i) * step] === b) end++;
        if (a !== b) for (const label of [a, b]) draw(label, k, i, end);
        i = end;
      }
    }
  };
  scan(height, width, 1, width, (label, y, from, to) => line(label, from, y, to, y));
  scan(width, height, width, 1, (label, x, from, to) => line(label, x, from, x, to));
  return paths;
}
