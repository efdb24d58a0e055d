// The tree of a layer, or of the whole image: role and keys as in the ARIA practices' tree view.

let showTree = () => {};

function treeOf(layer) {
  const root = { name: "", children: new Map(), bytes: 0, wasted: 0, change: null };
  for (const entry of paths) {
    const versions = layer === null ? entry.versions : entry.versions.filter((version) => version.layer === layer);
    if (versions.length === 0) continue;
    const size = versions.reduce((sum, version) => sum + version.bytes, 0);
    const wasted = versions.reduce((sum, version) => sum + version.wasted, 0);
    let node = root;
    for (const part of ["", ...entry.path.split("/").filter(Boolean)]) {
      if (part !== "") {
        if (!node.children.has(part)) node.children.set(part, { name: part, children: new Map(), bytes: 0, wasted: 0, change: null });
        node = node.children.get(part);
      }
      node.bytes += size;
      node.wasted += wasted;
    }
    node.change = layer === null ? (entry.shows ? null : "gone") : versions.at(-1).change;
    node.kind = versions.at(-1).kind ?? entry.shows;
  }
  return root;
}

function treeSection() {
  const holder = make("div");
  const select = make("select", { id: "layer" }, make("option", { value: "" }, "the whole image"), data.layers.map((layer) => make("option", { value: String(layer.index) }, `layer ${layer.index}: ${visible(plainCommand(layer.createdBy)).slice(0, 60)}`)));
  const order = { by: "wasted" };

  function sortedChildren(node) {
    // Of equals the larger one first: where nothing is wasted the order by waste is the order by size.
    const compare = order.by === "name" ? () => 0 : (a, b) => b[order.by] - a[order.by] || b.bytes - a.bytes || b.wasted - a.wasted;
    return [...node.children.values()].sort((a, b) => compare(a, b) || (a.name < b.name ? -1 : 1));
  }

  function item(node, depth) {
    const isFolder = node.children.size > 0;
    const change = node.change ?? "none";
    const row = make(
      "div",
      { class: `row s-${change}` },
      make("span", { class: "sign", title: change === "none" ? null : change }, SIGNS[change]),
      make("span", { class: "label" }, make("bdi", {}, `${visible(node.name)}${isFolder || node.kind === "folder" ? "/" : ""}`)),
      make("span", { class: "num all" }, bytes(node.bytes)),
      make("span", { class: `num${node.wasted > 0 ? " is-wasted" : " muted"}` }, bytes(node.wasted)),
    );
    row.querySelector(".label").style.paddingLeft = `${Math.min(depth, 24) * 1.15}em`;
    const element = make("li", { role: "treeitem", tabindex: "-1", "aria-level": String(depth + 1), "aria-expanded": isFolder ? "false" : null }, row);
    element.node = node;
    element.depth = depth;
    row.addEventListener("click", () => {
      focusItem(element);
      if (isFolder) open(element, element.getAttribute("aria-expanded") === "false");
    });
    return element;
  }

  function open(element, isOpen) {
    if (!element.hasAttribute("aria-expanded")) return;
    element.setAttribute("aria-expanded", String(isOpen));
    element.querySelector(":scope > ul")?.remove();
    if (isOpen) element.append(group(element.node, element.depth + 1));
  }

  // Long folders are cut: a page of a hundred thousand elements would be of no use.
  function group(node, depth) {
    const children = sortedChildren(node);
    const list = make("ul", { role: "group" }, children.slice(0, 500).map((child) => item(child, depth)));
    if (children.length > 500) list.append(make("li", { class: "muted" }, `… and ${children.length - 500} more`));
    return list;
  }

  function focusItem(element) {
    for (const other of holder.querySelectorAll('[tabindex="0"]')) other.tabIndex = -1;
    element.tabIndex = 0;
    element.focus();
  }

  function keys(event) {
    const element = event.target.closest('[role="treeitem"]');
    if (!element) return;
    const all = [...holder.querySelectorAll('[role="treeitem"]')];
    const at = all.indexOf(element);
    const expanded = element.getAttribute("aria-expanded");
    const go = (to) => to && focusItem(to);
    const actions = {
      ArrowDown: () => go(all[at + 1]),
      ArrowUp: () => go(all[at - 1]),
      Home: () => go(all[0]),
      End: () => go(all.at(-1)),
      ArrowRight: () => (expanded === "false" ? open(element, true) : expanded === "true" ? go(all[at + 1]) : undefined),
      ArrowLeft: () => (expanded === "true" ? open(element, false) : go(element.parentElement.closest('[role="treeitem"]'))),
      Enter: () => open(element, expanded === "false"),
      " ": () => open(element, expanded === "false"),
    };
    if (!actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  }

  function show() {
    const layer = select.value === "" ? null : Number(select.value);
    const root = treeOf(layer);
    if (root.children.size === 0) {
      holder.replaceChildren(make("p", { class: "muted" }, "None of the listed paths is in this layer."));
      return;
    }
    const list = group(root, 0);
    list.setAttribute("role", "tree");
    list.setAttribute("aria-label", layer === null ? "Paths of the image" : `Paths of layer ${layer}`);
    list.addEventListener("keydown", keys);
    holder.replaceChildren(
      make("div", { class: "tree-head", "aria-hidden": "true" }, make("span"), make("span", {}, "path"), make("span", { class: "num all" }, "in layers"), make("span", { class: "num" }, "wasted")),
      list,
    );
    list.firstElementChild.tabIndex = 0;
    // Folders that hold nearly all of it are opened, so that the costliest path is seen at once.
    let element = list.firstElementChild;
    for (let depth = 0; element && depth < 8 && element.node.children.size > 0; depth += 1) {
      open(element, true);
      element = element.querySelector(":scope > ul > li");
    }
  }

  select.addEventListener("change", show);
  showTree = (layer) => {
    select.value = String(layer);
    show();
    document.getElementById("tree").scrollIntoView();
    select.focus({ preventScroll: true });
  };
  show();
  const cut = data.pathsTotal > paths.length ? ` It holds the ${count(paths.length, "path")} that cost most.` : "";
  return section(
    "tree",
    "Tree by layer",
    `+ added, ~ changed, − removed by the layer; × no longer in the image.${cut}`,
    make(
      "div",
      { class: "card" },
      make(
        "div",
        { class: "tools" },
        make("label", { class: "grow" }, "Show", select),
        make("label", {}, "Order", toggle("Order", [["wasted", "wasted"], ["bytes", "size"], ["name", "name"]], "wasted", (by) => { order.by = by; show(); })),
      ),
      holder,
    ),
  );
}
