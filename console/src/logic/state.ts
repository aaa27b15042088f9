/** What the page knows, and how each piece of news changes it. Pure: no clock, no network. */

import type { Grammar, Item, KeyUsage, NodeView, Status } from "../types";
import { comings, remember, worded, type Happening, type What } from "./happenings";

export const KEEP = 500; // items remembered; the oldest go first

export type Connection = { kind: "connecting" } | { kind: "live" } | { kind: "lost"; retryAt_ms: number };

export interface Progress {
  step: number;
  steps: number;
  preview: string | null;
}

export interface State {
  connection: Connection;
  needKey: boolean;
  nodes: NodeView[];
  items: Item[]; // newest first
  progress: ReadonlyMap<string, Progress>; // only of pictures being made
  happenings: readonly Happening[]; // newest first
  usage: readonly KeyUsage[];
  grammar: Grammar | null;
  models: string[];
  policies: string[];
}

export const EMPTY: State = {
  connection: { kind: "connecting" },
  needKey: false,
  nodes: [],
  items: [],
  progress: new Map(),
  happenings: [],
  usage: [],
  grammar: null,
  models: [],
  policies: [],
};

export type News =
  | { kind: "item"; item: Partial<Item> & { id: string } }
  | { kind: "happened"; what: What; body: Partial<Item> & Record<string, unknown>; item: (Partial<Item> & { id: string }) | null }
  | { kind: "progress"; id: string; step: number; steps: number; preview_b64?: string | null }
  | { kind: "nodes"; nodes: NodeView[] };

const FORGOTTEN = "The gateway was restarted and no longer knows this picture.";
const OVER: readonly Status[] = ["finished", "failed", "refused", "cancelled"];

export function isOver(item: Item): boolean {
  return OVER.includes(item.status);
}

/** Read one server-sent event; what cannot be read is no news. */
export function newsOf(event: string, data: string): News | null {
  let body: unknown;
  try {
    body = JSON.parse(data);
  } catch {
    return null;
  }
  if (typeof body !== "object" || body === null) return null;
  if (event === "nodes") return { kind: "nodes", nodes: (body as { data: NodeView[] }).data ?? [] };
  if (event === "joined" || event === "lost") return { kind: "happened", what: event, body: body as Record<string, unknown>, item: null };
  const item = body as Partial<Item> & { id?: string };
  if (typeof item.id !== "string") return null;
  const known = item as Partial<Item> & { id: string };
  if (event === "progress") return { ...(body as { step: number; steps: number }), kind: "progress", id: item.id };
  if (event === "retargeted" || event === "migrated") {
    // The item is the one before the change but for its steps; why they changed is part of its reason once it is over.
    const { reason: _why, step: _step, steps_before: _before, ...rest } = known as typeof known & Record<string, unknown>;
    const changed = { ...rest, id: known.id, status: "running" as const };
    return { kind: "happened", what: event, body: body as Record<string, unknown>, item: changed };
  }
  if (event === "decided") return { kind: "item", item: { status: "waiting", ...known } };
  if (event === "finished" || event === "failed" || event === "refused" || event === "cancelled") {
    // A cancelled picture comes as "failed" and says so itself.
    return { kind: "item", item: { ...known, status: known.status && OVER.includes(known.status) ? known.status : event } };
  }
  return null;
}

export function apply(state: State, news: News, now_s: number): State {
  if (news.kind === "nodes") {
    return { ...state, nodes: news.nodes, happenings: remember(state.happenings, comings(state.nodes, news.nodes, now_s)) };
  }
  if (news.kind === "progress") return progressed(state, news);
  if (news.kind === "happened") {
    const said = worded(news.what, news.body, now_s);
    const told = { ...state, happenings: remember(state.happenings, said ? [said] : []) };
    return news.item ? changed(told, news.item, now_s) : told;
  }
  return changed(state, news.item, now_s);
}

/**
 * Take over the gateway's own list; what came by events meanwhile stays unless the list knows better.
 * `open` are pictures that were under way when the line broke: the list knows them, or the gateway has forgotten them.
 */
export function history(state: State, listed: readonly Item[], now_s: number, open: readonly string[] = []): State {
  const known = new Set(listed.map((item) => item.id));
  const lost = open.filter((id) => !known.has(id)).map((id) => ({ id, status: "failed" as const, error: FORGOTTEN }));
  const items = [...lost, ...[...listed].reverse()].reduce((all, item) => upsert(all, item, now_s), state.items);
  return { ...state, items, progress: stillRunning(state.progress, items) };
}

function changed(state: State, item: Partial<Item> & { id: string }, now_s: number): State {
  const items = upsert(state.items, item, now_s);
  return { ...state, items, progress: stillRunning(state.progress, items) };
}

function progressed(state: State, news: News & { kind: "progress" }): State {
  const before = state.progress.get(news.id);
  const preview = news.preview_b64 ?? before?.preview ?? null;
  const progress = new Map(state.progress).set(news.id, { step: news.step, steps: news.steps, preview });
  const items = state.items.map((item) =>
    item.id === news.id && item.status === "waiting" ? { ...item, status: "running" as const } : item,
  );
  return { ...state, progress: stillRunning(progress, items), items };
}

/** Drop the progress of pictures that are over or forgotten, so that it cannot grow without bound. */
function stillRunning(progress: ReadonlyMap<string, Progress>, items: readonly Item[]): ReadonlyMap<string, Progress> {
  if (progress.size === 0) return progress;
  const alive = new Set(items.filter((item) => !isOver(item)).map((item) => item.id));
  return new Map([...progress].filter(([id]) => alive.has(id)));
}

function upsert(items: Item[], fresh: Partial<Item> & { id: string }, now_s: number): Item[] {
  const at = items.findIndex((item) => item.id === fresh.id);
  if (at >= 0) {
    const next = [...items];
    next[at] = merge(items[at] as Item, fresh);
    return next;
  }
  const item: Item = { prompt: "", status: "waiting", created: now_s, ...said(fresh) };
  const place = items.findIndex((other) => other.created <= item.created);
  const next = place < 0 ? [...items, item] : [...items.slice(0, place), item, ...items.slice(place)];
  return next.slice(0, KEEP);
}

/** Later news wins, but silence never erases and what is over stays over. */
function merge(old: Item, fresh: Partial<Item>): Item {
  const merged: Item = { ...old, ...said(fresh), created: old.created };
  return isOver(old) && !isOver(merged) ? { ...merged, status: old.status } : merged;
}

function said<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, v]) => v !== undefined && v !== null)) as T;
}

/** Why a picture was not made, in the gateway's words. */
export function errorText(item: Item): string {
  const error = item.error;
  if (typeof error === "string") return error;
  return error?.message ?? item.reason ?? `The picture was ${item.status}.`;
}
