// What every part of the page uses: the data, elements, numbers and names as text.

const data = JSON.parse(document.getElementById("data").textContent);
const KINDS = ["file", "hard link", "symlink", "folder", "device", "named pipe"];
const CHANGES = ["added", "changed", "metadata", "removed", "repeated", "time", "identical", "linked"];
const CHANGE_WORDS = { metadata: "owner or mode only", time: "time only", identical: "the same again", linked: "for another name" };
const SIGNS = { added: "+", changed: "~", metadata: "~", removed: "−", repeated: "~", time: "~", identical: "~", linked: "~", gone: "×", none: "" };

// An element. Text is only ever set as text: names come from the image and may hold markup.
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

// As the command and `kubectl get` write sizes (crates/text).
function bytes(count) {
  let value = count;
  let unit = 0;
  while (value >= 1023.95 && unit + 1 < UNITS.length) {
    value /= 1024;
    unit += 1;
  }
  return `${value.toFixed(unit === 0 ? 0 : 1)} ${UNITS[unit]}`;
}

function percent(part, whole) {
  if (whole === 0) return "0 %";
  const share = (100 * part) / whole;
  return `${share >= 10 || share === 0 ? share.toFixed(0) : share.toFixed(1)} %`;
}

function count(number, noun, nouns) {
  return `${number.toLocaleString("en")} ${number === 1 ? noun : (nouns ?? `${noun}s`)}`;
}

// Control characters and characters that change the direction or the look of what follows, as escapes.
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]/gu;

function visible(name) {
  return name.replace(UNSAFE, (letter) => `\\u{${letter.codePointAt(0).toString(16)}}`);
}

function nameOf(text, attributes) {
  return make("bdi", { class: "name", ...attributes }, visible(text));
}

// Numbers of layers as ranges: 1–4, 7.
function ranges(layers) {
  const parts = [];
  for (let at = 0; at < layers.length; ) {
    let end = at;
    while (end + 1 < layers.length && layers[end + 1] === layers[end] + 1) end += 1;
    parts.push(end === at ? `${layers[at]}` : `${layers[at]}–${layers[end]}`);
    at = end + 1;
  }
  if (parts.length > 12) parts.splice(6, parts.length - 12, "…");
  return parts.join(", ");
}

// A history entry's command without what builders put around it.
function plainCommand(text) {
  return (text ?? "")
    .trim()
    .replace(/^RUN /, "")
    .replace(/^\/bin\/sh -c\s+/, "")
    .replace(/^#\(nop\)\s+/, "")
    .replace(/\s*# buildkit$/, "");
}

// What the page says of a path: unpacked once from the compact rows of the data.
const paths = data.paths.map((row) => {
  const [path, hex, copies, total, wasted, cause, shows, packed, shortened] = row;
  const versions = [];
  for (let at = 0; at < packed.length; at += 5) {
    const [layer, change, kind, size, lost] = packed.slice(at, at + 5);
    versions.push({ layer, change: CHANGES[change], kind: KINDS[kind], bytes: size, wasted: lost });
  }
  const layers = [...new Set(versions.filter((one) => one.change !== "removed").map((one) => one.layer))];
  return { path, hex, copies, total, wasted, cause, shows: KINDS[shows], versions, layers, shortened };
});

const causeTitle = (cause) => (cause === null ? "" : data.causes[cause].title);
const causeColour = (cause) => (cause === null ? 8 : cause % 8);

// A text as a sentence: with a capital letter and a full stop.
function sentence(text) {
  const trimmed = text.trim();
  const whole = /[.!?…]$/.test(trimmed) || trimmed === "" ? trimmed : `${trimmed}.`;
  return whole.charAt(0).toUpperCase() + whole.slice(1);
}

// Options as a shell takes them, one with its value a line.
function shellLines(options) {
  const lines = [];
  for (const option of options) {
    const word = /^[\w./:@=+,%-]+$/.test(option) ? option : `'${visible(option).replaceAll("'", "'\\''")}'`;
    if (option.startsWith("--") || lines.length === 0) lines.push(word);
    else lines[lines.length - 1] += ` ${word}`;
  }
  return lines.join(" \\\n");
}

function section(id, title, lead, ...children) {
  return make(
    "section",
    { id, "aria-labelledby": `${id}-title` },
    make("h2", { id: `${id}-title` }, title),
    lead ? make("p", { class: "lead" }, lead) : null,
    ...children,
  );
}

function toggle(label, options, chosen, choose) {
  const group = make("span", { class: "toggle", role: "group", "aria-label": label });
  for (const [value, text] of options) {
    const press = () => {
      for (const button of group.children) button.setAttribute("aria-pressed", button.dataset.value === value);
      choose(value);
    };
    group.append(
      make("button", { type: "button", "data-value": value, "aria-pressed": String(value === chosen), onclick: press }, text),
    );
  }
  return group;
}
