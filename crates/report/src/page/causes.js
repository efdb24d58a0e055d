// Causes and advice, secrets, equal files, warnings.

function causeCard(cause, index) {
  const costs = [];
  if (cause.wastedBytes > 0) costs.push(`${bytes(cause.wastedBytes)} wasted`);
  if (cause.removableBytes > 0) costs.push(`${bytes(cause.removableBytes)} could go`);
  return make(
    "article",
    { class: `card cause b${causeColour(index)}` },
    make("header", {}, make("h3", {}, cause.title), make("span", { class: "cost is-wasted" }, costs.join(", "))),
    make("p", {}, sentence(cause.advice)),
    cause.options.length > 0 ? make("pre", {}, shellLines(cause.options)) : null,
    cause.evidence.length > 0
      ? make(
          "details",
          { open: index === 0 },
          make("summary", {}, `What was seen, in ${count(cause.paths, "path")}`),
          make(
            "ul",
            { class: "evidence" },
            cause.evidence.map((one) =>
              make("li", {}, nameOf(one.path), make("div", { class: "muted" }, `${bytes(one.bytes)}. ${sentence(one.seen)}`, one.layers.length > 0 ? ` Layers ${ranges(one.layers)}.` : "")),
            ),
          ),
        )
      : null,
  );
}

function causesSection() {
  const parts = [];
  for (const risk of data.risks) {
    parts.push(
      make(
        "article",
        { class: "card cause risk" },
        make("header", {}, make("h3", {}, "A secret may still be readable"), make("span", { class: "muted" }, risk.risk)),
        make("p", {}, nameOf(risk.path), ` is ${risk.replaced ? "replaced" : "removed"}, but still in ${risk.layers.length === 1 ? "layer" : "layers"} ${ranges(risk.layers)}.`),
        make("p", {}, sentence(risk.advice)),
      ),
    );
  }
  parts.push(...data.causes.map(causeCard));
  if (data.duplicates.length > 0) {
    const extra = data.duplicates.reduce((sum, one) => sum + one.extraBytes, 0);
    parts.push(
      make(
        "article",
        { class: "card cause" },
        make("header", {}, make("h3", {}, "The same content under several names"), make("span", { class: "cost" }, `${bytes(extra)} more than needed`)),
        make(
          "details",
          {},
          make("summary", {}, count(data.duplicates.length, "group")),
          make(
            "ul",
            { class: "evidence" },
            data.duplicates.map((one) =>
              make("li", {}, `${one.copies} × ${bytes(one.bytes)}`, make("div", { class: "muted" }, one.paths.map((path, at) => [at > 0 ? ", " : "", nameOf(path)]).flat())),
            ),
          ),
        ),
      ),
    );
  }
  if (data.warnings.length > 0) {
    parts.push(
      make(
        "article",
        { class: "card cause" },
        make("details", {}, make("summary", {}, count(data.warnings.length, "warning")), make("ul", { class: "evidence" }, data.warnings.map((text) => make("li", {}, visible(text))))),
      ),
    );
  }
  if (parts.length === 0) parts.push(make("p", { class: "card" }, "No known cause of bloat was found."));
  return section("causes", "Causes and advice", "Why the bytes are there, the costliest first, and what helps.", make("div", { class: "causes" }, parts));
}
