// Requests to the server. Every failure is an Error with one line for the user.

export class Conflict extends Error {
  constructor(answer) {
    super(answer.error);
    this.theirs = answer.theirs;
  }
}

async function answered(request) {
  let response;
  try {
    response = await request;
  } catch {
    throw new Error("the server is not responding; is wsss-seed review still running? Unsaved changes are kept on this page");
  }
  if (response.ok) return response;
  const text = await response.text();
  let answer;
  try {
    answer = JSON.parse(text);
  } catch {
    answer = { error: text.trim() || "status " + response.status };
  }
  throw response.status === 409 ? new Conflict(answer) : new Error(answer.error);
}

export const address = (path, query) => path + "?" + new URLSearchParams(query);

export async function get(path, query = {}) {
  return (await answered(fetch(address(path, query)))).json();
}

export async function post(path, value) {
  const headers = { "Content-Type": "application/json" };
  return (await answered(fetch(path, { method: "POST", headers, body: JSON.stringify(value) }))).json();
}

// A map of bytes row by row, which the browser has inflated.
export async function map(path, query) {
  const response = await answered(fetch(address(path, query)));
  const [width, height] = response.headers.get("X-Size").split(" ").map(Number);
  const values = new Uint8Array(await response.arrayBuffer());
  if (values.length !== width * height) throw new Error("the server sent a damaged map; load the image again");
  return { values, width, height, digest: response.headers.get("X-Digest") };
}

// Whether a picture can be shown; the error says why not.
export async function picture(path, query) {
  const response = await answered(fetch(address(path, query)));
  return createImageBitmap(await response.blob());
}

// What undoing the next decision about an image restores. A lapsed verdict would hold again, for a mask it was not about.
export const stateBefore = ({ id, verdict, mask, outdated }) => ({ id, verdict: outdated ? "open" : verdict, mask });
