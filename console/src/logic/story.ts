/** Reads GET /v1/requests/{id}: an item, perhaps nested, with what the journal holds about it. */

import type { Item } from "../types";

export interface Happening {
  after_s: number | null; // since the first event
  name: string;
  rest: string; // whatever else the event says
}

export function itemOf(story: Record<string, unknown>): Item | null {
  const inner = (story.item ?? story) as Item;
  return typeof inner.id === "string" && typeof inner.prompt === "string" ? inner : null;
}

const LONGEST = 100;
const NAMES = ["what", "event", "kind"];
const TIMES = ["after_s", "at_s", "now_s"];

export function happenings(story: Record<string, unknown>): Happening[] {
  const rows = (Array.isArray(story.events) ? story.events : []).filter(isRecord);
  const times = rows.map((row) => first(row, TIMES, "number") as number | undefined);
  const start = times.find((time) => time !== undefined) ?? 0;
  return rows.map((row, i) => ({
    after_s: times[i] === undefined ? null : Math.max(0, (times[i] as number) - start),
    name: String(first(row, NAMES, "string") ?? "event"),
    rest: Object.entries(row)
      .filter(([name, value]) => !NAMES.includes(name) && !TIMES.includes(name) && name !== "id" && isPlain(value))
      .map(([name, value]) => `${name} ${typeof value === "number" ? Number(value.toPrecision(4)) : String(value)}`)
      .join(", "),
  }));
}

/** The parts of a reason, which the planner parts with semicolons. Who decided is told beside it. */
export function clauses(reason: string): string[] {
  return reason.replace(/\. Decided by \S+\.$/, "").split(/;\s+/).filter((part) => part.trim() !== "");
}

function first(row: Record<string, unknown>, names: string[], type: "string" | "number"): unknown {
  return names.map((name) => row[name]).find((value) => typeof value === type);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isPlain(value: unknown): boolean {
  // A long text is the reason, which the story tells already.
  return ["number", "boolean"].includes(typeof value) || (typeof value === "string" && value !== "" && value.length <= LONGEST);
}
