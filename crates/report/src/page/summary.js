// The image in a sentence and a few numbers.

function tile(name, value, note, wasted) {
  return make(
    "div",
    { class: "card" },
    make("dt", {}, name),
    make("dd", { class: wasted ? "is-wasted" : null }, value, note ? make("small", {}, note) : null),
  );
}

function verdict() {
  const { totals, estimate } = data;
  const worst = data.causes.find((cause) => cause.wastedBytes > 0);
  const spare = data.causes.filter((cause) => cause.cause !== "duplicate-content").sort((a, b) => b.removableBytes - a.removableBytes)[0];
  const named = (cause) => cause.title.replace(/\.$/, "").replace(/^[A-Z](?![A-Z])/, (letter) => letter.toLowerCase());
  const couldGo = totals.removableBytes > 0 && spare ? [make("strong", {}, `${bytes(totals.removableBytes)} (${percent(totals.removableBytes, totals.unpackedBytes)})`), ` can be seen and could go, most of it ${named(spare)}.`] : [];
  if (totals.wastedBytes === 0 && couldGo.length > 0) {
    return make("p", { class: "verdict" }, "Every file that a layer holds is in the image, but ", ...couldGo);
  }
  if (totals.wastedBytes === 0) {
    return make("p", { class: "verdict" }, make("strong", { class: "good" }, "Nothing is wasted."), " Every file that a layer holds is in the image.");
  }
  return make(
    "p",
    { class: "verdict" },
    make("strong", {}, `${bytes(totals.wastedBytes)} (${percent(totals.wastedBytes, totals.unpackedBytes)})`),
    " of the files in this image’s layers cannot be seen.",
    worst ? ` The costliest cause: ${named(worst)}.` : "",
    ` A squash would save about ${bytes(estimate.compressedBytes)} of what is stored.`,
    couldGo.length > 0 ? " Besides, " : "",
    ...couldGo,
  );
}

function summary() {
  const { totals, estimate } = data;
  const split = make("div", { class: "split", role: "img", "aria-label": `${percent(totals.mergedBytes, totals.unpackedBytes)} of the files can be seen` });
  for (const [name, size] of [["seen", totals.mergedBytes], ["wasted", totals.wastedBytes]]) {
    const part = make("span", { class: name });
    part.style.flexGrow = String(size);
    split.append(part);
  }
  return make(
    "section",
    { id: "summary", "aria-label": "Summary" },
    make("h1", {}, make("bdi", {}, visible(data.reference))),
    make("p", { class: "facts" }, make("bdi", {}, visible(data.digest)), make("br"), make("bdi", {}, visible(data.platform))),
    verdict(),
    make(
      "dl",
      { class: "tiles" },
      tile("Layers", totals.layers.toLocaleString("en")),
      tile("Stored", bytes(totals.compressedBytes), "what a node pulls"),
      tile("In the layers", bytes(totals.unpackedBytes), `${count(totals.mergedPaths, "path")} seen`),
      tile("Wasted", bytes(totals.wastedBytes), percent(totals.wastedBytes, totals.unpackedBytes), totals.wastedBytes > 0),
      tile("Could go", bytes(totals.removableBytes), "seen, and not needed", totals.removableBytes > 0),
      tile("Efficiency", percent(totals.mergedBytes, totals.unpackedBytes), "seen / in the layers"),
      tile("A squash saves", bytes(estimate.compressedBytes), `stored, in about ${duration(estimate.seconds)}`),
    ),
    split,
    make(
      "ul",
      { class: "legend" },
      make("li", {}, make("i", { class: "seen" }), `seen: ${bytes(totals.mergedBytes)}`),
      make("li", {}, make("i", { class: "wasted" }), `wasted: ${bytes(totals.wastedBytes)}`),
    ),
  );
}

function duration(seconds) {
  if (seconds < 1) return "1 s";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return `${Math.round(seconds / 60)} min`;
}
