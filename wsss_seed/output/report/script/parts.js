// Files of a page in a folder. They are scripts that call wsssSeed, because a page that was opened from a disk may load
// nothing else; each is loaded once.

const parts = new Map();
const receivers = new Map();

window.wsssSeed = (name, content) => receivers.get(name)?.(content);

function part(name) {
  if (!parts.has(name)) {
    const loading = new Promise((resolve, reject) => {
      const script = element("script");
      const fail = () => {
        parts.delete(name); // so that the next attempt asks again
        script.remove();
        reject(new Error(name + ".js"));
      };
      receivers.set(name, (content) => {
        script.onload = () => script.remove();
        resolve(content);
      });
      script.src = name + ".js";
      script.onerror = fail;
      script.onload = fail; // it ended without a call: truncated
      document.head.append(script);
    });
    parts.set(name, loading);
  }
  return parts.get(name);
}

function trouble(error) {
  field("trouble").hidden = !error;
  if (error) field("trouble").textContent = error.message + " cannot be loaded: this page needs all files of its folder.";
}

// The images, without what only the gallery shows of them.
async function loadIndex() {
  const found = await Promise.all(Array.from({ length: data.parts }, (_, number) => part("index/" + number)));
  data.cards = found.flat();
}

// Complete some cards; null if they are complete.
function complete(some) {
  const lacking = some.filter((card) => !card.pictures);
  if (!lacking.length) return null;
  const chunks = new Set(lacking.map((card) => Math.floor(card.place / data.chunk)));
  return Promise.all(
    [...chunks].map(async (number) => {
      const details = await part("cards/" + number);
      details.forEach((detail, at) => Object.assign(data.cards[number * data.chunk + at], detail));
    }),
  );
}

// The enlarged view of a card.
let enlargements = null; // parsed when first needed

function enlargement(card) {
  if (card.large) return part(card.large);
  enlargements ??= JSON.parse(field("enlarged").textContent);
  return enlargements[card.place];
}
