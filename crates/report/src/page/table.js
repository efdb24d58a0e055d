// The table of paths: sorted by any column, searched as you type, each row opens.

const PAGE = 25;
let showPath = () => {};

function versionsList(entry) {
  const titles = [["layer", "num"], ["change"], ["size", "num"], ["wasted", "num"], ["command", "command"]];
  const list = make("div", { class: "versions", tabindex: "0", role: "group", "aria-label": `Layers of ${visible(entry.path)}` }, titles.map(([title, kind]) => make("span", { class: `title ${kind ?? ""}` }, title)));
  for (const { layer, change, kind, bytes: size, wasted } of entry.versions) {
    list.append(
      make("span", { class: "num" }, String(layer)),
      make("span", { class: `s-${change}` }, `${SIGNS[change]} ${CHANGE_WORDS[change] ?? change}`),
      make("span", { class: "num" }, kind === "file" ? bytes(size) : (kind ?? "")),
      make("span", { class: "num is-wasted" }, wasted > 0 ? bytes(wasted) : ""),
      make("span", { class: "command muted name" }, visible(plainCommand(data.layers[layer]?.createdBy)).slice(0, 160)),
    );
  }
  if (entry.shortened) list.append(make("span", { class: "title" }, "…"), make("span", { class: "muted" }, "and more"));
  return list;
}

function tableSection() {
  const columns = [
    { key: "path", title: "Path", text: true },
    { key: "copies", title: "Copies", narrow: true },
    { key: "total", title: "In all layers", narrow: true },
    { key: "wasted", title: "Wasted" },
    { key: "causeTitle", title: "Cause", text: true, narrow: true },
    { key: "first", title: "Layers", narrow: true },
  ];
  const rows = paths.map((entry) => ({ ...entry, causeTitle: causeTitle(entry.cause), first: entry.layers[0] ?? 0, entry }));
  let sorted = { key: "wasted", down: true };
  let wanted = "";
  let found = rows;
  let shown = PAGE;
  const opened = new Set();

  const head = make("tr");
  const body = make("tbody");
  const after = make("p", { class: "after" });
  const search = make("input", { type: "search", id: "search", placeholder: "Search paths and causes", "aria-label": "Search paths and causes", autocomplete: "off", spellcheck: "false" });

  for (const column of columns) {
    const cell = make(
      "th",
      { scope: "col", class: [column.text ? "" : "num", column.narrow ? "hide-narrow" : ""].join(" ").trim() || null, "aria-sort": "none" },
      make("button", { type: "button", onclick: () => sortBy(column) }, column.title),
    );
    column.cell = cell;
    head.append(cell);
  }

  function sortBy(column) {
    sorted = { key: column.key, down: sorted.key === column.key ? !sorted.down : !column.text };
    update();
  }

  function update() {
    const words = wanted.toLowerCase().split(/\s+/).filter(Boolean);
    found = rows.filter((row) => words.every((word) => row.path.toLowerCase().includes(word) || row.causeTitle.toLowerCase().includes(word)));
    const { key, down } = sorted;
    const compare = (a, b) => (typeof a[key] === "string" ? (a[key] < b[key] ? -1 : a[key] > b[key] ? 1 : 0) : a[key] - b[key]);
    // Equals stand as in the analysis: the larger first, then by name.
    found.sort((a, b) => (down ? -1 : 1) * compare(a, b) || b.wasted - a.wasted || b.total - a.total || (a.path < b.path ? -1 : 1));
    for (const column of columns) column.cell.setAttribute("aria-sort", column.key === key ? (down ? "descending" : "ascending") : "none");
    shown = PAGE;
    draw();
  }

  function draw() {
    const lines = [];
    for (const row of found.slice(0, shown)) {
      lines.push(line(row));
      if (opened.has(row.path)) lines.push(make("tr", { class: "more" }, make("td", { colspan: columns.length }, row.hex ? make("p", { class: "facts" }, `bytes: ${row.hex}`) : null, versionsList(row))));
    }
    body.replaceChildren(...lines);
    const listed = found.length === rows.length ? `${count(rows.length, "path")}${data.pathsTotal > rows.length ? `, the worst of ${data.pathsTotal.toLocaleString("en")}` : ""}` : `${count(found.length, "path")} of ${rows.length.toLocaleString("en")}`;
    after.replaceChildren(
      make("span", { role: "status" }, listed),
      found.length > shown ? make("button", { type: "button", class: "plain", onclick: () => { shown += PAGE * 8; draw(); } }, `Show ${Math.min(PAGE * 8, found.length - shown)} more`) : "",
    );
  }

  function line(row) {
    const isOpen = opened.has(row.path);
    const open = make("button", { type: "button", class: "open", "aria-expanded": String(isOpen) }, nameOf(row.path));
    open.addEventListener("click", () => {
      if (isOpen) opened.delete(row.path);
      else opened.add(row.path);
      draw();
      [...body.querySelectorAll(".open")].find((button) => button.textContent === open.textContent)?.focus();
    });
    return make(
      "tr",
      {},
      make("td", {}, open),
      make("td", { class: "num hide-narrow" }, row.copies.toLocaleString("en")),
      make("td", { class: "num hide-narrow" }, bytes(row.total)),
      make("td", { class: `num${row.wasted > 0 ? " is-wasted" : ""}` }, bytes(row.wasted)),
      make("td", { class: "hide-narrow" }, row.cause === null ? "" : make("span", { class: "tag" }, make("i", { class: `k${causeColour(row.cause)}` }), row.causeTitle)),
      make("td", { class: "num hide-narrow" }, ranges(row.layers)),
    );
  }

  search.addEventListener("input", () => {
    wanted = search.value;
    update();
  });
  showPath = (entry) => {
    search.value = entry.path;
    wanted = entry.path;
    opened.add(entry.path);
    update();
    document.getElementById("paths").scrollIntoView();
    body.querySelector(".open")?.focus({ preventScroll: true });
  };
  update();
  return section(
    "paths",
    "Paths",
    "The paths that cost most. A row opens to what each layer did to the path.",
    make("div", { class: "card" }, make("div", { class: "tools" }, make("span", { class: "grow" }, search)), make("div", { class: "scroll" }, make("table", {}, make("thead", {}, head), body)), after),
  );
}
