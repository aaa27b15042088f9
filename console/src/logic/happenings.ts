/** What happens to pictures and machines while pictures are made, in a line each. Pure. */

import type { Item, NodeView } from "../types";

export const KEEP_HAPPENINGS = 60; // the oldest go first
const SAME_S = 10; // the gateway's word and what the page sees by itself are one happening

export type What = "retargeted" | "migrated" | "joined" | "lost";

export interface Happening {
  what: What;
  at_s: number;
  node: string;
  id: string | null; // of a picture
  text: string;
}

type Body = Partial<Item> & Record<string, unknown>;

/** Word one event of the gateway; what says nothing about a machine or a picture is no happening. */
export function worded(what: What, body: Body, at_s: number): Happening | null {
  const node = text(body.node);
  const id = text(body.id) || null;
  const why = text(body.reason);
  const because = why ? `: ${why}` : "";
  if (what === "retargeted") {
    return { what, at_s, node, id, text: `${number(body.steps_before)} → ${number(body.steps)} steps on ${node}${because}` };
  }
  if (what === "migrated") {
    return { what, at_s, node, id, text: `from ${node} to ${text(body.to) || "another node"}${because}` };
  }
  return node ? { what, at_s, node, id: null, text: `${node} ${what === "joined" ? "joined" : "left"}${because}` } : null;
}

/** Say which machines came or went between two looks; the first look is no news. */
export function comings(before: readonly NodeView[], after: readonly NodeView[], at_s: number): Happening[] {
  if (before.length === 0) return [];
  const was = new Map(before.map((node) => [node.name, node.alive]));
  const is = new Map(after.map((node) => [node.name, node.alive]));
  const names = [...new Set([...was.keys(), ...is.keys()])];
  return names.flatMap((name) => {
    const [then, now] = [was.get(name) ?? false, is.get(name) ?? false];
    const said = then === now ? null : worded(now ? "joined" : "lost", { node: name }, at_s);
    return said ? [said] : [];
  });
}

/** Put happenings in front, each once. */
export function remember(known: readonly Happening[], fresh: readonly Happening[]): readonly Happening[] {
  const news = fresh.filter((one) => one.id !== null || !known.some((old) => isSame(old, one)));
  return news.length === 0 ? known : [...[...news].reverse(), ...known].slice(0, KEEP_HAPPENINGS);
}

function isSame(old: Happening, fresh: Happening): boolean {
  return old.what === fresh.what && old.node === fresh.node && Math.abs(fresh.at_s - old.at_s) < SAME_S;
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function number(value: unknown): string {
  return typeof value === "number" ? String(value) : "?";
}
