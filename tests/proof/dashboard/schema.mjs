// Holds a dashboard against the types that Grafana publishes (@grafana/schema), by the TypeScript compiler.
//
// usage: node schema.mjs NODE_MODULES DASHBOARD WORK
//
// JSON has "green" where the types have enums, whose members a string is not assignable to: in a copy of the types each
// enum becomes the union of its values. A panel's options and custom fields are held against those of its kind of panel;
// what is left out there has a default in Grafana, so none is required.
import fs from "node:fs";
import path from "node:path";
import { createRequire } from "node:module";

const [modules, dashboard, work] = process.argv.slice(2);
const ts = createRequire(path.join(path.resolve(modules), "index.js"))("typescript");
const published = path.join(modules, "@grafana/schema/dist/types");
const types = path.join(work, "types");
let enums = 0;
for (const name of fs.readdirSync(published, { recursive: true })) {
  if (!name.endsWith(".d.ts")) continue;
  const text = fs
    .readFileSync(path.join(published, name), "utf8")
    .replace(/export declare enum (\w+) \{([^}]*)\}/g, (_, enumeration, members) => {
      enums += 1;
      const values = [...members.replace(/\/\*[^]*?\*\//g, "").matchAll(/^\s*\w+ = ("[^"]*"|-?\d+)/gm)];
      return `export type ${enumeration} = ${values.map((value) => value[1]).join(" | ")};`;
    });
  fs.mkdirSync(path.dirname(path.join(types, name)), { recursive: true });
  fs.writeFileSync(path.join(types, name), text);
}
if (enums < 40) throw new Error(`only ${enums} enums: the package has another shape than this script knows`);

const json = JSON.parse(fs.readFileSync(dashboard, "utf8"));
const lines = [
  'import type { Dashboard, Panel, RowPanel, VariableModel } from "./types/raw/dashboard/x/types.gen";',
  'import type { DataQuery } from "./types/common/common.gen";',
];
const panels = json.panels.filter((panel) => panel.type !== "row");
for (const kind of new Set(panels.map((panel) => panel.type))) {
  const file = `./types/raw/composable/${kind}/panelcfg/x/types.gen`;
  if (!fs.existsSync(path.join(work, `${file}.d.ts`))) throw new Error(`Grafana has no panel ${kind}`);
  lines.push(`import type * as ${kind} from "${file}";`);
}
const say = (name, type, value) => lines.push(`export const ${name}: ${type} = ${JSON.stringify(value, null, 1)};`);
const { panels: all, templating, ...rest } = json;
say("dashboard", "Dashboard", { ...rest, panels: [] });
templating.list.forEach((variable, at) => say(`variable${at}`, "VariableModel", variable));
for (const panel of all) {
  if (panel.type === "row") {
    say(`row${panel.id}`, "RowPanel", panel);
    continue;
  }
  const { options, fieldConfig, targets, ...own } = panel;
  const { custom, ...defaults } = fieldConfig.defaults;
  say(`panel${panel.id}`, "Panel", { ...own, fieldConfig: { ...fieldConfig, defaults } });
  say(`options${panel.id}`, `Partial<${panel.type}.Options>`, options);
  const has = fs.readFileSync(path.join(types, `raw/composable/${panel.type}/panelcfg/x/types.gen.d.ts`), "utf8");
  if (/interface FieldConfig\b/.test(has)) say(`custom${panel.id}`, `Partial<${panel.type}.FieldConfig>`, custom ?? {});
  else if (Object.keys(custom ?? {}).length) throw new Error(`${panel.title}: a ${panel.type} has no custom fields`);
  // The data source's own part of a query is not in the package.
  targets.forEach(({ expr, legendFormat, instant, range, format, ...target }, at) =>
    say(`target${panel.id}_${at}`, "DataQuery", target),
  );
}
const source = path.join(work, "dashboard.ts");
fs.writeFileSync(source, lines.join("\n"));
const program = ts.createProgram([source], {
  strict: true,
  noEmit: true,
  skipLibCheck: true,
  types: [],
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.ESNext,
  moduleResolution: ts.ModuleResolutionKind.Bundler,
  paths: { "@grafana/schema": [path.resolve(types, "index.d.ts")] },
});
const faults = ts.getPreEmitDiagnostics(program);
for (const fault of faults) {
  const at = fault.file?.getLineAndCharacterOfPosition(fault.start);
  const line = at && fault.file.text.split("\n")[at.line].trim();
  console.log(`${ts.flattenDiagnosticMessageText(fault.messageText, "\n")}${line ? `\n  at ${line}` : ""}`);
}
process.exitCode = faults.length ? 1 : 0;
