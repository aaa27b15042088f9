/** One door to the gateway: relative addresses, the key, and errors in the gateway's own words. */

import type { Grammar, Item, KeyUsage, NodeView, Offer, Plan } from "../types";

const KEY = "edgegen.key";
const READ_MS = 15_000; // small answers; without one the line is taken for dead

/** An error as the gateway words it; `status` 0 means that it could not be reached. */
export class GatewayError extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly code: string | null = null,
    readonly param: string | null = null,
    readonly offer: Offer | null = null,
    readonly retryAfter_s: number | null = null,
  ) {
    super(message);
  }
}

export const key = {
  get: (): string => sessionStorage.getItem(KEY) ?? "",
  set: (value: string): void => sessionStorage.setItem(KEY, value),
};

export async function call(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  if (key.get()) headers.set("Authorization", `Bearer ${key.get()}`);
  if (init.body) headers.set("Content-Type", "application/json");
  let response: Response;
  try {
    response = await fetch(new URL(path.replace(/^\//, ""), document.baseURI), { ...init, headers });
  } catch (cause) {
    if (cause instanceof DOMException && cause.name === "AbortError") throw cause;
    throw new GatewayError("The gateway cannot be reached.", 0);
  }
  if (!response.ok) throw await errorOf(response);
  return response;
}

export function post(path: string, body: unknown, signal?: AbortSignal): Promise<Response> {
  return call(path, { method: "POST", body: JSON.stringify(body), ...(signal ? { signal } : {}) });
}

export async function errorOf(response: Response): Promise<GatewayError> {
  const after = Number(response.headers.get("Retry-After"));
  const text = await response.text().catch(() => "");
  let error: Record<string, unknown> = {};
  try {
    error = (JSON.parse(text) as { error?: Record<string, unknown> }).error ?? {};
  } catch {
    // A proxy in front of the gateway may answer with something that is not JSON.
  }
  return new GatewayError(
    typeof error.message === "string" ? error.message : `The gateway answered ${response.status}.`,
    response.status,
    typeof error.code === "string" ? error.code : null,
    typeof error.param === "string" ? error.param : null,
    (error.offer as Offer | undefined) ?? null,
    Number.isFinite(after) && after > 0 ? after : null,
  );
}

export const read = {
  nodes: async () => (await json<{ data: NodeView[] }>("v1/nodes")).data,
  requests: async (limit: number) => (await json<{ data: Item[] }>(`v1/requests?limit=${limit}`)).data,
  usage: async () => (await json<{ data: KeyUsage[] }>("v1/usage")).data,
  story: (id: string) => json<Record<string, unknown>>(`v1/requests/${encodeURIComponent(id)}`),
  grammar: () => json<Grammar>("v1/grammar"),
  models: async () => names(await json<unknown>("v1/models")),
  policies: async () => names(await json<unknown>("v1/policies")),
  plan: async (body: unknown) => (await (await post("v1/plan", body)).json()) as Plan,
};

async function json<T>(path: string): Promise<T> {
  return (await call(path, { signal: AbortSignal.timeout(READ_MS) })).json() as Promise<T>;
}

/** Names out of a listing, whether it holds plain names or objects with an id or a name. */
export function names(listing: unknown): string[] {
  const rows = Array.isArray(listing) ? listing : ((listing as { data?: unknown[] } | null)?.data ?? []);
  return rows
    .map((row) => (typeof row === "string" ? row : ((row as { id?: string; name?: string }).id ?? (row as { name?: string }).name)))
    .filter((name): name is string => typeof name === "string");
}
