// A pretend fleet: made-up machines, made-up curves, and a greedy choice among them.
export const MODELS = {
  "shapes-s": { step_s: 0.012, best: 0.86, half: 3.2, bits: 1 },
  "shapes-m": { step_s: 0.035, best: 0.93, half: 2.6, bits: 1 },
  "shapes-l": { step_s: 0.085, best: 0.97, half: 2.2, bits: 1 },
};
const node = (name, tier, models, slow, watts, rtt_s, up, down, emulated) => ({
  name, tier, models, slow, watts, resident: models.slice(0, 2), queue: [], running: [], alive: true, paced: slow > 1,
  emulated, energy_j: 0, finished: 0, busy: [], link: { uplink_bps: up, downlink_bps: down, rtt_s },
});
export const NODES = [
  node("phone", "device", ["shapes-s", "shapes-m"], 5, 4, 0, null, null, ["pace", "power"]),
  node("edge-1", "edge", ["shapes-s", "shapes-m", "shapes-l"], 2.2, 35, 0.012, 2.4e7, 6e7, ["pace", "radio", "power"]),
  node("edge-2", "edge", ["shapes-m", "shapes-l"], 3, 35, 0.018, 1.2e7, 4e7, ["pace", "radio", "power"]),
  node("cloud", "cloud", ["shapes-m", "shapes-l"], 1, 220, 0.085, 1e8, 1e8, ["pace", "wide-area link", "power"]),
];
const HARDNESS = { basic: 1, detail: 0.98, relation: 0.9, complex: 0.78 };

export function categoryOf(prompt) {
  const objects = (prompt.match(/circle|square|triangle|cross/g) ?? []).length;
  if (objects > 1) return objects > 2 ? "complex" : "relation";
  return /small|large|background| on /.test(prompt) ? "detail" : "basic";
}

export function quality(model, steps, category) {
  const { best, half } = MODELS[model];
  return Math.round(best * HARDNESS[category] * (1 - Math.exp(-steps / half)) * 1000) / 1000;
}

export function splitOf(at, model, steps, jitter = 1) {
  const generate_s = MODELS[model].step_s * at.slow * steps * jitter;
  const queue_s = backlog(at) * jitter;
  const remote = at.tier !== "device";
  const upload_s = remote ? at.link.rtt_s / 2 + 2e4 / at.link.uplink_bps : 0;
  const download_s = remote ? at.link.rtt_s / 2 + 4e5 / at.link.downlink_bps : 0;
  const load_s = at.resident.includes(model) ? 0 : 0.18 * jitter;
  const total_s = upload_s + queue_s + load_s + generate_s + download_s;
  const node_energy_j = remote ? at.watts * generate_s : 0;
  const device_energy_j = remote ? 1.1 * (upload_s + download_s) + 0.02 : at.watts * generate_s;
  return { upload_s, queue_s, load_s, generate_s, download_s, total_s, device_energy_j, node_energy_j, money_usd: remote ? 0.00004 * generate_s : 0 };
}

export function backlog(at) {
  return [...at.queue, ...at.running].reduce((sum, job) => sum + (job.total_s ?? 0), 0);
}

/** Every choice with its prediction, and the best feasible one (or null). */
export function plan(prompt, asked) {
  const category = categoryOf(prompt);
  const limits = { deadline_ms: Infinity, max_energy_j: Infinity, min_quality: 0, ...asked };
  const alternatives = [];
  for (const at of NODES) for (const model of at.models) for (const steps of [1, 2, 4, 8, 16]) {
    const predicted = splitOf(at, model, steps);
    const estimate = quality(model, steps, category);
    alternatives.push({ node: at.name, model, steps, predicted, quality_estimate: estimate, ...verdict(at, model, steps, predicted, estimate, limits) });
  }
  const score = (a) => a.quality_estimate - 0.06 * a.predicted.total_s - 0.002 * a.predicted.node_energy_j;
  const best = alternatives.filter((a) => a.feasible).sort((a, b) => score(b) - score(a))[0] ?? null;
  return { category, alternatives, best };
}

function verdict(at, model, steps, predicted, estimate, limits) {
  let why = null;
  if (limits.tiers && !limits.tiers.includes(at.tier)) why = `tier ${at.tier} was not allowed`;
  else if (limits.nodes && !limits.nodes.includes(at.name)) why = `node ${at.name} was not allowed`;
  else if (limits.model && limits.model !== "auto" && limits.model !== model) why = `model ${limits.model} was asked for`;
  else if (Number.isInteger(limits.steps) && limits.steps !== steps) why = `${limits.steps} steps were asked for`;
  else if (predicted.total_s * 1000 > limits.deadline_ms) why = `${(predicted.total_s * 1000 - limits.deadline_ms).toFixed(0)} ms past the deadline`;
  else if (estimate < limits.min_quality) why = `estimated quality ${estimate.toFixed(2)} is below the floor ${limits.min_quality}`;
  else if (predicted.device_energy_j + predicted.node_energy_j > limits.max_energy_j) why = `needs ${(predicted.device_energy_j + predicted.node_energy_j).toFixed(2)} J`;
  return { feasible: why === null, why_not: why };
}
