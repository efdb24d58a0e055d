// The picture of the layers: one column each, what is seen below, what is wasted on top.

function layersSection() {
  const chart = make("div", { class: "chart", role: "group", "aria-label": "Layers, lowest first" });
  const detail = make("div", { class: "layer", "aria-live": "polite" });
  const largest = Math.max(1, ...data.layers.map((layer) => layer.unpackedBytes));
  const columns = data.layers.map((layer) => {
    const told = `Layer ${layer.index}: ${bytes(layer.unpackedBytes)}, ${bytes(layer.wastedBytes)} wasted`;
    const column = make(
      "button",
      { type: "button", "aria-pressed": "false", "aria-label": told, title: `${told}\n${visible(plainCommand(layer.createdBy)).slice(0, 300)}`, tabindex: "-1" },
      make("span", { class: "wasted" }),
      make("span", { class: "seen" }),
    );
    column.addEventListener("click", () => choose(layer.index));
    return column;
  });
  chart.append(...columns);

  function scale(kind) {
    // On the second scale a layer of a kilobyte can be seen beside one of a gigabyte.
    const height = (size) => (kind === "linear" ? size / largest : Math.log2(1 + size / 1024) / Math.log2(1 + largest / 1024));
    data.layers.forEach((layer, index) => {
      const whole = layer.unpackedBytes === 0 ? 0 : Math.max(1.5, 100 * height(layer.unpackedBytes));
      const share = layer.unpackedBytes === 0 ? 0 : layer.wastedBytes / layer.unpackedBytes;
      const [wasted, seen] = columns[index].children;
      wasted.style.height = `${whole * share}%`;
      seen.style.height = `${whole * (1 - share)}%`;
    });
  }

  function choose(index) {
    columns.forEach((column, at) => {
      column.setAttribute("aria-pressed", String(at === index));
      column.tabIndex = at === index ? 0 : -1;
    });
    detail.replaceChildren(...layerDetail(data.layers[index]));
  }

  chart.addEventListener("keydown", (event) => {
    const at = columns.indexOf(document.activeElement);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: columns.length - 1, PageUp: at - 10, PageDown: at + 10 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    const next = Math.min(columns.length - 1, Math.max(0, to));
    choose(next);
    columns[next].focus();
  });

  const worst = data.layers.reduce((best, layer) => (layer.wastedBytes > (best?.wastedBytes ?? -1) ? layer : best), null);
  // What is seldom of one size is what the picture is about: with one large base the rest needs the other scale.
  const sizes = data.layers.map((layer) => layer.unpackedBytes).sort((a, b) => a - b);
  const kind = largest > 200 * (sizes[sizes.length >> 1] || 1) ? "log" : "linear";
  scale(kind);
  if (worst) choose(worst.index);
  return section(
    "layers",
    "Layers",
    "One column a layer, the lowest on the left. Arrow keys go from layer to layer.",
    make(
      "div",
      { class: "card" },
      make(
        "div",
        { class: "tools" },
        make(
          "ul",
          { class: "legend grow" },
          make("li", {}, make("i", { class: "wasted" }), "wasted"),
          make("li", {}, make("i", { class: "seen" }), "seen"),
        ),
        make("label", {}, "Heights", toggle("Heights", [["linear", "linear"], ["log", "logarithmic"]], kind, scale)),
      ),
      chart,
      make("p", { class: "axis", "aria-hidden": "true" }, make("span", {}, "0"), make("span", {}, String(data.layers.length - 1))),
      detail,
    ),
  );
}

function layerDetail(layer) {
  const tally = (name, { paths: number, bytes: size }) => (number === 0 ? null : `${name} ${count(number, "path")} (${bytes(size)})`);
  const changes = [tally("adds", layer.added), tally("changes", layer.changed), tally("removes", layer.removed)].filter(Boolean);
  const command = plainCommand(layer.createdBy);
  const show = make(
    "button",
    { type: "button", class: "plain", onclick: () => showTree(layer.index) },
    "Show its tree",
  );
  return [
    make("h3", {}, `Layer ${layer.index}`),
    make(
      "p",
      {},
      `${bytes(layer.compressedBytes)} stored, ${bytes(layer.unpackedBytes)} of files in ${count(layer.entries, "entry", "entries")}, `,
      make("span", { class: "is-wasted" }, `${bytes(layer.wastedBytes)} wasted`),
      layer.hidesBytes > 0 ? `; it hides ${bytes(layer.hidesBytes)} of lower layers.` : ".",
    ),
    changes.length > 0 ? make("p", { class: "muted" }, `It ${changes.join(", ")}.`) : "",
    layer.metadataOnly.paths > 0
      ? make("p", { class: "is-wasted" }, `${count(layer.metadataOnly.paths, "file")} (${bytes(layer.metadataOnly.bytes)}) ${layer.metadataOnly.paths === 1 ? "is" : "are"} here again though its content is the same: see the causes.`)
      : "",
    command ? make("pre", {}, visible(command)) : make("p", { class: "muted" }, "The history does not say what made it."),
    make("p", { class: "facts" }, make("bdi", {}, visible(layer.digest))),
    make("p", {}, show),
  ].filter((part) => part !== "");
}
