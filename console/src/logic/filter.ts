/** What the gallery can be narrowed to. */

import type { Item } from "../types";

export const FILTERS = ["all", "made", "late", "refused", "failed"] as const;
export type Filter = (typeof FILTERS)[number];

export function matches(item: Item, filter: Filter): boolean {
  if (filter === "made") return item.status === "finished";
  if (filter === "late") return item.status === "finished" && item.met_deadline === false;
  if (filter === "refused") return item.status === "refused";
  if (filter === "failed") return item.status === "failed" || item.status === "cancelled";
  return true;
}
