// A day of the metrics that docs/operator/operations.md lists, as OpenMetrics with times, made up after the incident:
// devboxes grow by a layer with each commit, a policy is switched on in the tenth hour, the leader changes in the
// eighteenth. Also kubelet's, node_exporter's and Prometheus' own that the dashboard asks for. The same at every run.
//
// usage: node incident.mjs START_SECONDS > FILE
const start = Number(process.argv[2]);
const STEP = 60;
const STEPS = (24 * 3600) / STEP;
const POLICY_AT = 10; // hours
const HANDOVER_AT = 18;
const LAYERS = [1, 2, 5, 10, 20, 30, 50, 75, 100, 127, 200, 500, 1000];
const BYTES = [1e7, 5e7, 1e8, 5e8, 1e9, 2e9, 5e9, 1e10, 5e10, 1e11, 1e12];
const doubling = (first, length) => Array.from({ length }, (_, at) => first * 2 ** at);

// 120 images, of which 23 are devboxes: the first is the incident's, 272 layers and 800 GB when the policy comes.
const BLOATED = 23;
const images = (hour) =>
  Array.from({ length: 120 }, (_, at) => {
    if (at >= BLOATED) return { layers: 3 + ((at * 7) % 38), size: 4e7 * (1 + ((at * 13) % 47)), squashed: false };
    const squashedAt = POLICY_AT + 0.3 + at * 0.17;
    if (hour >= squashedAt) {
      const commits = Math.floor((hour - squashedAt) * 0.4);
      return { layers: 2 + commits, size: at === 0 ? 2.05e9 : 4e8 * (1 + (at % 5)), squashed: true };
    }
    const grown = at === 0 ? 252 + Math.floor(hour * 2) : 52 + at * 5 + Math.floor(hour);
    return { layers: grown, size: at === 0 ? grown * 2.94e9 : grown * (0.5 + (at % 7) * 0.3) * 1e8, squashed: false };
  });

const families = new Map();
const add = (family, type, name, labels, time, value) => {
  if (!families.has(family)) families.set(family, { type, series: new Map() });
  const key = `${name}{${Object.entries(labels).map(([label, text]) => `${label}="${text}"`).join(",")}}`;
  const { series } = families.get(family);
  if (!series.has(key)) series.set(key, []);
  series.get(key).push(`${key} ${value} ${time}`);
};
const counts = new Map();
const gauge = (name, labels, time, value) => add(name, "gauge", name, labels, time, value);
const counter = (name, labels, time, more) => {
  const key = name + JSON.stringify(labels);
  counts.set(key, (counts.get(key) ?? 0) + more);
  add(name, "counter", `${name}_total`, labels, time, counts.get(key));
};
// Of the values that were observed since the start of this pod.
const observed = new Map();
const histogram = (name, bounds, labels, time, values, isNow = false) => {
  const key = name + JSON.stringify(labels);
  if (isNow || !observed.has(key)) observed.set(key, []);
  const all = observed.get(key);
  all.push(...values);
  for (const bound of [...bounds, Infinity]) {
    const le = bound === Infinity ? "+Inf" : Number.isInteger(bound) ? bound.toFixed(1) : `${bound}`;
    add(name, "histogram", `${name}_bucket`, { ...labels, le }, time, all.filter((value) => value <= bound).length);
  }
  add(name, "histogram", `${name}_count`, labels, time, all.length);
  add(name, "histogram", `${name}_sum`, labels, time, all.reduce((sum, value) => sum + value, 0));
};

const wave = (hour, seed) => 1 + 0.2 * Math.sin(hour * 1.7 + seed) + 0.1 * Math.sin(hour * 11 + seed * 3);
let before = images(0);
for (let step = 0; step <= STEPS; step += 1) {
  const time = start + step * STEP;
  const hour = (step * STEP) / 3600;
  const now = images(hour);
  const leads = hour < HANDOVER_AT ? "a" : "b";
  const at = { namespace: "unbloat-system", pod: `unbloat-6d4f7c9b8-${leads}` };
  const done = now.filter((image, at) => image.squashed && !before[at].squashed).length;
  const squashed = now.filter((image) => image.squashed).length;
  const acts = hour >= POLICY_AT;
  const over = now.filter((image) => image.layers > 50 || image.size > 1e10);
  const running = acts && squashed < BLOATED ? 2 : 0;
  const queued = acts ? Math.max(0, Math.min(8, BLOATED - squashed - running)) : 0;

  for (const pod of ["a", "b"]) {
    const own = { namespace: "unbloat-system", pod: `unbloat-6d4f7c9b8-${pod}` };
    gauge("unbloat_leader", own, time, pod === leads ? 1 : 0);
    const memory = (pod === leads ? 38e6 + running * 3e6 : 14e6) * wave(hour, pod === "a" ? 1 : 2);
    gauge("process_resident_memory_bytes", own, time, Math.round(memory));
  }
  const states = { queued, running, retrying: hour > 11 && hour < 11.4 ? 1 : 0, suspended: 0, succeeded: squashed, failed: hour > 11.4 ? 1 : 0 };
  for (const [state, value] of Object.entries(states)) gauge("unbloat_jobs", { ...at, state }, time, value);
  counter("unbloat_jobs_finished", { ...at, result: "succeeded", reason: "Squashed" }, time, done);
  counter("unbloat_jobs_finished", { ...at, result: "failed", reason: "PushUnauthorized" }, time, step === 684 ? 1 : 0);
  counter("unbloat_attempts_failed", { ...at, reason: "RegistryUnavailable" }, time, step === 640 || step === 701 ? 1 : 0);
  counter("unbloat_attempts_failed", { ...at, reason: "WorkerEvicted" }, time, step === 733 ? 1 : 0);
  const saved = now.reduce((sum, image, at) => (image.squashed && !before[at].squashed ? sum + before[at].size - image.size : sum), 0);
  counter("unbloat_reclaimed_bytes", { ...at, kind: "pull" }, time, saved);
  counter("unbloat_reclaimed_bytes", { ...at, kind: "unpacked" }, time, saved * 2.6);
  counter("unbloat_registry_bytes", { ...at, direction: "read" }, time, done * 9e9 + running * 2e9);
  counter("unbloat_registry_bytes", { ...at, direction: "written" }, time, done * 1.1e9 + running * 1e8);
  histogram("unbloat_squash_duration_seconds", doubling(1, 14), at, time, Array(done).fill(40 + ((step * 37) % 160)));
  histogram("unbloat_queue_wait_seconds", doubling(0.1, 18), at, time, Array(done).fill(5 + queued * 90));

  const verdicts = { Fine: 92, OverThreshold: over.length, Squashed: squashed, Flat: 3, Excluded: 2, Unknown: hour < 4 ? 6 : 1 };
  for (const [verdict, value] of Object.entries(verdicts)) gauge("unbloat_images", { ...at, verdict }, time, value);
  const passed = { layers: now.filter((image) => image.layers > 50).length, size: now.filter((image) => image.size > 1e10).length };
  for (const [threshold, value] of Object.entries(passed)) {
    gauge("unbloat_images_over_threshold", { ...at, policy: "devboxes", threshold }, time, value);
  }
  histogram("unbloat_image_layers", LAYERS, at, time, now.map((image) => image.layers), true);
  histogram("unbloat_image_size_bytes", BYTES, at, time, now.map((image) => image.size), true);
  gauge("unbloat_images_max_layers", at, time, Math.max(...now.map((image) => image.layers)));
  gauge("unbloat_images_max_size_bytes", at, time, Math.max(...now.map((image) => image.size)));
  const reclaimable = over.reduce((sum, image) => sum + image.size * 0.95, 0);
  gauge("unbloat_reclaimable_bytes", { ...at, kind: "pull" }, time, reclaimable);
  gauge("unbloat_reclaimable_bytes", { ...at, kind: "unpacked" }, time, reclaimable * 2.6);
  counter("unbloat_inspections", { ...at, result: "success" }, time, step < 30 ? 4 : step % 9 === 0 ? 1 : 0);
  counter("unbloat_inspections", { ...at, result: "unauthorized" }, time, step < 240 && step % 40 === 0 ? 1 : 0);
  counter("unbloat_analyses", { ...at, result: "success" }, time, step < 60 && step % 2 === 0 ? 1 : step % 45 === 0 ? 1 : 0);
  counter("unbloat_analyses", { ...at, result: "failed" }, time, step === 333 ? 1 : 0);
  counter("unbloat_rollouts", { ...at, strategy: "Devbox", result: "RolledOut" }, time, done);
  counter("unbloat_rollouts", { ...at, strategy: "Workload", result: "ManagedByGitOps" }, time, step === 720 ? 2 : 0);
  counter("unbloat_originals", { ...at, result: "OriginalDeleted" }, time, hour > 16 && step % 60 === 0 ? 3 : 0);
  counter("unbloat_originals", { ...at, result: "OriginalInUse" }, time, hour > 16 && step % 180 === 0 ? 1 : 0);
  const inHour = acts ? Math.min(10, squashed - images(Math.floor(hour)).filter((image) => image.squashed).length) : 0;
  gauge("unbloat_policy_budget_used", { ...at, policy: "devboxes", budget: "jobsThisHour" }, time, Math.max(0, inHour));
  gauge("unbloat_policy_budget_used", { ...at, policy: "devboxes", budget: "bytesToday" }, time, squashed * 9e9);
  counter("unbloat_controller_reconcile", { ...at, result: "success" }, time, Math.round((20 + running * 40) * wave(hour, 3)));
  counter("unbloat_controller_reconcile", { ...at, result: "error" }, time, step % 97 === 0 ? 2 : 0);
  counter("unbloat_controller_reconcile", { ...at, result: "panic" }, time, 0);
  histogram("unbloat_controller_reconcile_time_seconds", doubling(0.001, 14), at, time, [0.004, 0.008 * wave(hour, 4), 0.02 + running * 0.03]);
  gauge("unbloat_controller_active_workers", at, time, running);
  counter("unbloat_api_writes", { ...at, verb: "patch", kind: "ImageSquashJob" }, time, done * 8 + running);
  counter("unbloat_api_writes", { ...at, verb: "create", kind: "Job" }, time, done);
  counter("unbloat_api_writes", { ...at, verb: "patch", kind: "ImageReport" }, time, step % 9 === 0 ? 3 : 0);

  const heavy = over.length / BLOATED;
  for (const node of ["node-1", "node-2"]) {
    const instance = { instance: node };
    histogram("kubelet_image_pull_duration_seconds", [1, 5, 10, 20, 30, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200], { ...instance, image_size_in_bytes: "N/A" }, time, step % 10 === 0 ? [18 + 50 * heavy * wave(hour, 5), 4] : []);
    counter("node_disk_written_bytes", { ...instance, device: "nvme0n1" }, time, Math.round((11e6 + 46e6 * heavy) * STEP * wave(hour, 6)));
    counter("node_disk_read_bytes", { ...instance, device: "nvme0n1" }, time, Math.round((2e6 + 4e6 * heavy) * STEP * wave(hour, 7)));
  }
  const most = { layers: Math.max(...now.map((image) => image.layers)), size: Math.max(...now.map((image) => image.size)) };
  const alerts = { UnbloatImageManyLayers: most.layers > 50, UnbloatImageNearLayerLimit: most.layers > 100, UnbloatImageLarge: most.size > 10e9 };
  for (const [alertname, fires] of Object.entries(alerts)) {
    if (fires) gauge("ALERTS", { alertname, alertstate: "firing", namespace: "unbloat-system" }, time, 1);
  }
  before = now;
}
const lines = [];
for (const [family, { type, series }] of families) {
  lines.push(`# TYPE ${family} ${type}`);
  for (const samples of series.values()) for (const sample of samples) lines.push(sample);
}
lines.push("# EOF");
process.stdout.write(`${lines.join("\n")}\n`);
