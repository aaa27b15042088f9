// A stand-in for the gateway while the page is developed: `node dev/fake_gateway.mjs [--port 8000] [--key K] [--load 1.2]`.
// It speaks the same HTTP but nothing in it is measured. It also serves a built page: `--page ../src/edgegen/serve/console`.
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { extname, join, normalize } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";

import { WORDS, draw, png, unknownWords } from "./draw.mjs";
import { NODES, backlog, plan, splitOf } from "./fleet.mjs";

const { values: options } = parseArgs({
  options: {
    port: { type: "string", default: "8000" }, key: { type: "string", default: "" },
    load: { type: "string", default: "0" }, history: { type: "string", default: "0" }, page: { type: "string", default: "" },
  },
});
const EXAMPLES = {
  basic: ["a red circle", "a yellow triangle", "an orange cross"],
  detail: ["a small red circle on a black background", "a large purple square on a white background"],
  relation: ["a red circle left of a blue square", "a small green cross above a yellow circle on a navy background"],
  complex: ["a red circle left of a blue square, both above a green cross", "a yellow cross above a purple circle, both right of a red triangle on a gray background"],
};
const items = [];
const listeners = new Set();
let made = 0;

const emit = (event, data) => listeners.forEach((send) => send(event, data));
const nodesBody = () => ({
  data: NODES.map(({ slow, watts, queue, running, busy, ...node }) => ({
    ...node, queue: queue.length, running: running.map(({ id, model, step, steps }) => ({ id, model, step, steps })),
    backlog_s: backlog({ queue, running }), utilisation: Math.min(1, busy.filter((t) => Date.now() - t < 30_000).length / 300),
  })),
});

function decide(prompt, asked, created = Date.now() / 1000) {
  const { best, category, alternatives } = plan(prompt, asked);
  const id = `img_${(++made).toString(36).padStart(6, "0")}`;
  const base = { id, prompt, category, created, policy: "planner", origin: asked.origin ?? "phone", seed: asked.seed ?? made, deadline_s: asked.deadline_ms ? asked.deadline_ms / 1000 : null };
  if (!best) {
    const offer = alternatives.sort((a, b) => a.predicted.total_s - b.predicted.total_s || b.quality_estimate - a.quality_estimate)[0];
    const message = `No node can do this within its limits; the quickest is ${offer.node} with ${offer.model} at ${offer.steps} steps in ${offer.predicted.total_s.toFixed(2)} s.`;
    const item = { ...base, status: "refused", reason: message, error: { message, code: "infeasible" } };
    items.unshift(item);
    emit("refused", item);
    return { item, offer: { node: offer.node, model: offer.model, steps: offer.steps, total_s: offer.predicted.total_s, quality: offer.quality_estimate, energy_j: offer.predicted.device_energy_j + offer.predicted.node_energy_j } };
  }
  const at = NODES.find((node) => node.name === best.node);
  const reason = `${best.node} has the best estimated quality (${best.quality_estimate.toFixed(2)}) among the ${alternatives.filter((a) => a.feasible).length} choices that keep every limit; ${backlog(at) > 0.05 ? `it has ${backlog(at).toFixed(1)} s of work waiting` : "it is idle"}.`;
  const item = { ...base, status: "waiting", node: best.node, tier: at.tier, model: best.model, steps: best.steps, reason, predicted: best.predicted, quality_estimate: best.quality_estimate, emulated: at.emulated, actual: null, met_deadline: null, image_url: null };
  items.unshift(item);
  items.length = Math.min(items.length, 500);
  emit("decided", item);
  return { item, at };
}

async function run(item, at, partial = () => undefined) {
  const job = { id: item.id, model: item.model, step: 0, steps: item.steps, total_s: item.predicted.generate_s };
  const began = Date.now();
  const jitter = 0.9 + 0.35 * Math.random() ** 3;
  await sleep(item.predicted.upload_s * 1000);
  at.queue.push(job);
  while (at.running.length > 0 || at.queue[0] !== job) await sleep(8);
  at.queue.shift();
  at.running.push(job);
  const waited_s = (Date.now() - began) / 1000 - item.predicted.upload_s;
  item.status = "running";
  const marks = new Set([1, 2, 3].map((k) => Math.round((item.steps * k) / 4)));
  for (let step = 1; step <= item.steps; step++) {
    await sleep((item.predicted.generate_s / item.steps) * 1000 * jitter);
    job.step = step;
    at.busy.push(Date.now());
    const shown = marks.has(step) && step < item.steps ? png(draw(item.prompt, 0.9 * (1 - step / item.steps), item.seed + step)).toString("base64") : null;
    if (shown) partial(shown);
    emit("progress", { id: item.id, step, steps: item.steps, ...(shown ? { preview_b64: shown } : {}) });
  }
  at.running.shift();
  finish(item, at, { ...splitOf(at, item.model, item.steps, jitter), queue_s: Math.max(0, waited_s) });
  emit("finished", item);
}

function finish(item, at, actual) {
  actual.total_s = actual.upload_s + actual.queue_s + actual.load_s + actual.generate_s + actual.download_s;
  at.energy_j += actual.device_energy_j + actual.node_energy_j;
  at.finished += 1;
  at.busy = at.busy.slice(-400);
  Object.assign(item, { status: "finished", actual, met_deadline: item.deadline_s ? actual.total_s <= item.deadline_s : null, image_url: `/v1/images/${item.id}.png` });
}

const pictureOf = (item) => png(draw(item.prompt, 0.28 * (1 - item.quality_estimate), item.seed));
const fail = (status, message, code, extra = {}) => ({ status, body: { error: { message, type: "invalid_request_error", param: null, code, ...extra } } });

async function images(request, response, body) {
  const { prompt = "", n = 1, stream = false, model, edgegen = {} } = body;
  const unknown = unknownWords(prompt);
  if (unknown.length) return fail(400, `The built-in models do not know ${unknown.map((w) => `"${w}"`).join(", ")}. Known words: ${WORDS.join(", ")}.`, "unknown_words", { param: "prompt", known_words: WORDS });
  const decided = Array.from({ length: n }, (_, i) => decide(prompt, { ...edgegen, model, seed: (edgegen.seed ?? 1) + i }));
  const refused = decided.find((d) => d.offer);
  if (refused) return fail(400, refused.item.reason, "infeasible", { offer: refused.offer });
  if (stream) return streamed(response, decided[0]);
  await Promise.all(decided.map((d) => run(d.item, d.at)));
  return { status: 200, body: { created: 1, data: decided.map((d) => ({ url: d.item.image_url })), edgegen: { id: "req_1", policy: "planner", items: decided.map((d) => d.item) } } };
}

async function streamed(response, { item, at }) {
  response.writeHead(200, { "Content-Type": "text/event-stream" });
  let index = 0;
  const send = (event, data) => response.write(`event: ${event}\ndata: ${JSON.stringify({ type: event, ...data })}\n\n`);
  await run(item, at, (b64_json) => send("image_generation.partial_image", { b64_json, partial_image_index: index++ }));
  send("image_generation.completed", { b64_json: pictureOf(item).toString("base64"), edgegen: { id: "req_1", policy: "planner", items: [item] } });
  response.end();
}

function follow(request, response) {
  response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
  const send = (event, data) => response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
  send("nodes", nodesBody());
  listeners.add(send);
  request.on("close", () => listeners.delete(send));
}

function planned(body) {
  const unknown = unknownWords(body.prompt ?? "");
  if (unknown.length) return fail(400, `The built-in models do not know "${unknown[0]}".`, "unknown_words", { param: "prompt" });
  const { best, alternatives } = plan(body.prompt, { ...body.edgegen, model: body.model });
  if (!best) return { status: 200, body: { policy: "planner", decision: null, predicted: null, quality_estimate: null, reason: "Nothing keeps every limit.", alternatives } };
  const tier = NODES.find((node) => node.name === best.node).tier;
  return { status: 200, body: { policy: body.edgegen?.policy ?? "planner", decision: { ...best, tier }, predicted: best.predicted, quality_estimate: best.quality_estimate, reason: `${best.node} has the best estimated quality among what keeps every limit.`, alternatives } };
}

async function answer(request, response, url) {
  const path = url.pathname;
  if (options.key && !path.endsWith(".png") && request.headers.authorization !== `Bearer ${options.key}`) return fail(401, "An API key is needed.", "invalid_api_key");
  if (request.method === "POST") {
    const body = JSON.parse(await text(request));
    return path === "/v1/plan" ? planned(body) : images(request, response, body);
  }
  if (path === "/v1/events") return follow(request, response);
  if (path === "/v1/nodes") return { status: 200, body: nodesBody() };
  if (path === "/v1/grammar") return { status: 200, body: { words: WORDS, categories: Object.keys(EXAMPLES), examples: EXAMPLES } };
  if (path === "/v1/models") return { status: 200, body: { object: "list", data: ["auto", "shapes-s", "shapes-m", "shapes-l"].map((id) => ({ id, object: "model" })) } };
  if (path === "/v1/policies") return { status: 200, body: { data: [{ name: "planner" }, { name: "fixed-steps" }, { name: "all-local" }] } };
  if (path === "/v1/requests") return { status: 200, body: { data: items.slice(0, Number(url.searchParams.get("limit") ?? 100)) } };
  const id = /^\/v1\/requests\/(.+)$/.exec(path)?.[1] ?? /^\/v1\/images\/(.+)\.png$/.exec(path)?.[1];
  const item = items.find((other) => other.id === id);
  if (!item) return fail(404, `There is no ${path}.`, "not_found");
  if (path.endsWith(".png")) return { status: 200, png: pictureOf(item) };
  return { status: 200, body: { ...item, digest: "9f2c41d07be8", events: [{ after_s: 0, what: "arrived", origin: item.origin }, { after_s: 0.002, what: "started", node: item.node, model: item.model, steps: item.steps }, ...(item.actual ? [{ after_s: item.actual.total_s, what: "finished" }] : [])] } };
}

async function text(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts).toString();
}

const CSP = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'";
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".json": "application/json" };
async function page(path, response) {
  const file = join(options.page, normalize(path === "/" ? "/index.html" : path));
  const data = await readFile(file).catch(() => null);
  response.writeHead(data ? 200 : 404, { "Content-Security-Policy": CSP, "Content-Type": TYPES[extname(file)] ?? "application/octet-stream" });
  response.end(data ?? "not found");
}

createServer(async (request, response) => {
  const url = new URL(request.url, "http://localhost");
  if (!url.pathname.startsWith("/v1/")) return page(url.pathname, response);
  const reply = await answer(request, response, url).catch((error) => fail(500, String(error), "bug"));
  if (!reply) return;
  response.writeHead(reply.status, { "Content-Type": reply.png ? "image/png" : "application/json" });
  response.end(reply.png ?? JSON.stringify(reply.body));
}).listen(Number(options.port), "127.0.0.1", () => console.log(`http://127.0.0.1:${options.port}`));

setInterval(() => emit("nodes", nodesBody()), 1000);

// Background traffic: `--load` pictures a second, and `--history` of them already done at the start.
const PROMPTS = Object.values(EXAMPLES).flat();
const pick = (list) => list[Math.floor(Math.random() * list.length)];
const askSomething = (created) => decide(pick(PROMPTS), { deadline_ms: pick([150, 500, 900, 1500, 3000, undefined]), min_quality: pick([0, 0, 0.5, 0.8]), seed: Math.floor(Math.random() * 1e6) }, created);
for (let k = Number(options.history); k > 0; k--) {
  const { item, at } = askSomething(Date.now() / 1000 - k * 4.1);
  if (!at) continue;
  if (Math.random() < 0.02) Object.assign(item, { status: "failed", error: { message: "The worker of edge-2 stopped at step 5 of 8 and no other node could meet the deadline." } });
  else finish(item, at, { ...splitOf(at, item.model, item.steps, 0.9 + 0.3 * Math.random()), queue_s: Math.random() ** 4 * 1.2 });
}
if (Number(options.load) > 0) {
  for (;;) {
    await sleep((-Math.log(1 - Math.random()) * 1000) / Number(options.load));
    const { item, at } = askSomething();
    if (at) void run(item, at);
  }
}
