/** One click on Generate: the request, its partial pictures, and how it ended. */

import { requestBody, type Form } from "../logic/form";
import { apply } from "../logic/state";
import type { Item } from "../types";
import { GatewayError, post } from "./api";
import { events } from "./sse";
import { change } from "./store";

const PARTIALS = 3;

export interface Run {
  prompt: string;
  seed: number;
  pictures: number;
  partials: string[]; // data addresses, in the order they came
  final: string | null;
  items: Item[]; // filled when the gateway has answered
  error: GatewayError | null;
  over: boolean;
}

/** Runs to its end and tells `show` about every change; never throws. */
export async function generate(form: Form, signal: AbortSignal, show: (run: Run) => void): Promise<void> {
  const seed = Math.floor(Math.random() * 2 ** 30);
  let run: Run = {
    prompt: form.prompt.trim(), seed, pictures: form.pictures,
    partials: [], final: null, items: [], error: null, over: false,
  };
  const update = (by: Partial<Run>) => show((run = { ...run, ...by }));
  update({});
  try {
    await (form.pictures > 1 ? many(form, seed, signal, update) : streamed(form, seed, signal, () => run, update));
  } catch (error) {
    if (error instanceof GatewayError && error.status === 401) change((state) => ({ ...state, needKey: true }));
    update({ error: asGatewayError(error, signal) });
  }
  update({ over: true });
}

async function streamed(
  form: Form, seed: number, signal: AbortSignal, now: () => Run, update: (by: Partial<Run>) => void,
): Promise<void> {
  const body = { ...requestBody(form, seed), stream: true, partial_images: PARTIALS };
  const response = await post("v1/images/generations", body, signal);
  for await (const { event, data } of events(response)) {
    const message = JSON.parse(data === "[DONE]" ? "{}" : data) as StreamMessage;
    if (message.error) throw new GatewayError(message.error.message ?? "The picture failed.", 500, message.error.code ?? null);
    if (!message.b64_json) continue;
    const picture = `data:image/png;base64,${message.b64_json}`;
    if (event.endsWith("partial_image")) update({ partials: [...now().partials, picture] });
    else update({ final: picture, items: learn(message.edgegen) });
  }
  if (!now().final) throw new GatewayError("The connection ended before the picture was finished.", 0);
}

async function many(form: Form, seed: number, signal: AbortSignal, update: (by: Partial<Run>) => void): Promise<void> {
  const body = { ...requestBody(form, seed), response_format: "url" };
  const answer = (await (await post("v1/images/generations", body, signal)).json()) as StreamMessage;
  update({ items: learn(answer.edgegen) });
}

interface StreamMessage {
  b64_json?: string;
  edgegen?: { items?: Partial<Item>[] };
  error?: { message?: string; code?: string };
}

/** The answer also feeds the gallery, in case its event is still on the way. */
function learn(extension: { items?: Partial<Item>[] } | undefined): Item[] {
  const items = (extension?.items ?? []).filter((item): item is Item => typeof item.id === "string");
  const done = items.map((item) => ({ ...item, status: "finished" as const }));
  change((state) => done.reduce((all, item) => apply(all, { kind: "item", item }, Date.now() / 1000), state));
  return done;
}

function asGatewayError(error: unknown, signal: AbortSignal): GatewayError {
  if (signal.aborted) return new GatewayError("Cancelled.", 0, "cancelled");
  if (error instanceof GatewayError) return error;
  return new GatewayError("The connection was lost while the picture was being made.", 0);
}

/** The pictures of a run among all items: same prompt, and its seed or one of the next few. */
export function isOf(run: Run, item: Item): boolean {
  const seed = item.seed;
  return item.prompt === run.prompt && typeof seed === "number" && seed >= run.seed && seed < run.seed + run.pictures;
}
