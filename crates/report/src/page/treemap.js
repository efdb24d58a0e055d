// The treemap of wasted bytes: areas are bytes, colours are causes. A folder opens when it is chosen.

function wastedTree() {
  const root = { name: "/", wasted: 0, children: new Map(), entry: null, causes: new Map() };
  for (const entry of paths) {
    if (entry.wasted === 0) continue;
    let node = root;
    const parts = entry.path.split("/").filter(Boolean);
    for (const [at, part] of ["", ...parts].entries()) {
      if (at > 0) {
        if (!node.children.has(part)) {
          node.children.set(part, { name: part, parent: node, wasted: 0, children: new Map(), entry: null, causes: new Map() });
        }
        node = node.children.get(part);
      }
      node.wasted += entry.wasted;
      node.causes.set(entry.cause, (node.causes.get(entry.cause) ?? 0) + entry.wasted);
    }
    node.entry = entry;
  }
  const rest = data.totals.wastedBytes - root.wasted;
  if (rest > 0) {
    root.children.set("", { name: "paths that are not listed", parent: root, wasted: rest, children: new Map(), entry: null, causes: new Map([[null, rest]]) });
    root.wasted += rest;
  }
  return root;
}

const pathOf = (node) => (node.parent ? `${pathOf(node.parent).replace(/\/$/, "")}/${node.name}` : "/");

// Bruls, Huizing, van Wijk, "Squarified Treemaps" (2000): rows along the shorter side, as square as they get.
function squarify(items, x, y, width, height, place) {
  let total = items.reduce((sum, item) => sum + item.wasted, 0);
  let at = 0;
  while (at < items.length && total > 0 && width > 0 && height > 0) {
    const side = Math.min(width, height);
    const scale = (width * height) / total;
    const worst = (sum, low, high) => Math.max((side * side * high) / (sum * sum), (sum * sum) / (side * side * low));
    let sum = items[at].wasted * scale;
    const high = sum;
    let low = sum;
    let end = at + 1;
    let ratio = worst(sum, low, high);
    while (end < items.length) {
      const area = items[end].wasted * scale;
      const next = worst(sum + area, area, high);
      if (next > ratio) break;
      [sum, low, ratio, end] = [sum + area, area, next, end + 1];
    }
    const depth = sum / side;
    let offset = 0;
    for (const item of items.slice(at, end)) {
      const length = (item.wasted * scale) / depth;
      if (width >= height) place(item, x, y + offset, depth, length);
      else place(item, x + offset, y, length, depth);
      offset += length;
      total -= item.wasted;
    }
    if (width >= height) [x, width] = [x + depth, width - depth];
    else [y, height] = [y + depth, height - depth];
    at = end;
  }
}

function mapSection() {
  const root = wastedTree();
  const crumbs = make("nav", { class: "crumbs", "aria-label": "Folder" });
  const map = make("div", { class: "map", role: "group", "aria-label": "Wasted bytes by path" });
  const told = make("p", { class: "told muted", "aria-live": "polite" });
  let shown = root;
  const TILES = 400;
  const HEAD = 22;

  function tell(node) {
    const parts = [...node.causes].filter(([cause]) => cause !== null).sort((a, b) => b[1] - a[1]);
    told.replaceChildren(
      nameOf(node.parent && node.name !== "paths that are not listed" ? pathOf(node) : node.name),
      ` ${bytes(node.wasted)} wasted`,
      node.entry ? ` in ${count(node.entry.copies, "copy", "copies")}` : "",
      parts.length > 0 ? `: ${parts.slice(0, 3).map(([cause]) => causeTitle(cause)).join("; ")}` : "",
    );
  }

  // A folder with one child is one tile with both names.
  function only(node) {
    let [at, name] = [node, node.name];
    while (at.children.size === 1 && !at.entry) {
      at = at.children.values().next().value;
      name = `${name}/${at.name}`;
    }
    return { at, name };
  }

  function children(node) {
    const items = [...node.children.values()].sort((a, b) => b.wasted - a.wasted).slice(0, TILES);
    // What a folder's own entry wasted, when it was a file in some layer.
    const own = node.wasted - items.reduce((sum, item) => sum + item.wasted, 0);
    if (node.entry && own > 0) items.push({ ...node, children: new Map(), wasted: own });
    return items.filter((item) => item.wasted > 0);
  }

  function place(element, x, y, width, height) {
    Object.assign(element.style, { left: `${x}px`, top: `${y}px`, width: `${Math.max(width, 1)}px`, height: `${Math.max(height, 1)}px` });
    return element;
  }

  // A tile, or for a folder that is large enough a frame with a heading and the folder's own tiles.
  function tiles(node, x, y, width, height, level) {
    const { at, name } = only(node);
    const cause = [...at.causes].sort((a, b) => b[1] - a[1])[0]?.[0] ?? null;
    const isFolder = at.children.size > 0;
    const isFrame = isFolder && level < 3 && width > 110 && height > 70;
    const button = make(
      "button",
      {
        type: "button",
        class: `${isFrame ? "head" : `k${causeColour(cause)}`}${isFolder ? " folder" : ""}`,
        "aria-label": `${visible(name)}: ${bytes(at.wasted)} wasted${isFolder ? ", opens" : ""}`,
        title: `${visible(pathOf(at))}\n${bytes(at.wasted)}`,
      },
      width > 46 && height > 18 ? make("b", {}, visible(name)) : null,
      width > 46 && (isFrame || height > 38) ? make("span", {}, bytes(at.wasted)) : null,
    );
    button.addEventListener("focus", () => tell(at));
    button.addEventListener("pointerenter", () => tell(at));
    button.addEventListener("click", () => (isFolder ? show(at, true) : at.entry ? showPath(at.entry) : undefined));
    if (!isFrame) return [place(button, x, y, width, height)];
    const frame = place(make("div", { class: "frame" }), x, y, width, height);
    const parts = [frame, place(button, x, y, width, HEAD)];
    squarify(children(at), x + 3, y + HEAD, width - 6, height - HEAD - 3, (item, left, top, across, down) => {
      parts.push(...tiles(item, left, top, across, down, level + 1));
    });
    return parts;
  }

  function show(node, focus) {
    shown = node;
    const above = [];
    for (let at = node; at; at = at.parent) above.unshift(at);
    crumbs.replaceChildren(
      ...above.map((at) => make("button", { type: "button", "aria-current": at === node ? "location" : null, onclick: () => show(at, true) }, make("bdi", {}, visible(at.name)))),
    );
    const parts = [];
    squarify(children(node), 0, 0, map.clientWidth, map.clientHeight, (item, x, y, width, height) => {
      const drawn = tiles(item, x, y, width, height, 0);
      drawn[0].dataset.level = "0";
      parts.push(...drawn);
    });
    map.replaceChildren(...parts);
    tell(node);
    if (focus) map.querySelector("button")?.focus();
  }

  map.addEventListener("keydown", (event) => {
    if ((event.key === "Escape" || event.key === "Backspace") && shown.parent) {
      event.preventDefault();
      show(shown.parent, true);
    }
  });
  new ResizeObserver(() => show(shown, false)).observe(map);

  const used = [...root.causes].sort((a, b) => b[1] - a[1]);
  const legend = make(
    "ul",
    { class: "legend" },
    used.map(([cause, size]) => make("li", {}, make("i", { class: `k${causeColour(cause)}` }), `${cause === null ? "no known cause" : causeTitle(cause)}: ${bytes(size)}`)),
  );
  const lead = "Every area is as large as the bytes that are wasted there; colours are causes. Choose a folder to open it, Escape goes back.";
  if (data.totals.wastedBytes === 0) {
    return section("map", "Where the bytes are", null, make("p", { class: "card" }, "Nothing is wasted, so there is nothing to draw."));
  }
  return section("map", "Where the bytes are", lead, make("div", { class: "card" }, crumbs, map, told, legend));
}
