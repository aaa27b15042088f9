/** Figures over the pictures that the page remembers. */

import type { Item, Split } from "../types";

/** Linear-interpolated quantile of an unsorted list, or null when there is nothing to rank. */
export function quantile(values: readonly number[], q: number): number | null {
  if (values.length === 0) return null;
  const sorted = [...values].sort((a, b) => a - b);
  const at = (sorted.length - 1) * Math.min(1, Math.max(0, q));
  const low = Math.floor(at);
  const below = sorted[low] as number;
  const above = sorted[Math.min(low + 1, sorted.length - 1)] as number;
  return below + (above - below) * (at - low);
}

export function mean(values: readonly number[]): number | null {
  return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** A statistic over the last `width` points, at every point that has at least `least` of them behind it. */
export function rolling(
  points: readonly (readonly [number, number])[],
  width: number,
  statistic: (values: number[]) => number | null,
  least = 5,
): [number, number][] {
  const out: [number, number][] = [];
  points.forEach(([x], i) => {
    const window = points.slice(Math.max(0, i + 1 - width), i + 1).map(([, y]) => y);
    if (window.length < least) return;
    const y = statistic(window);
    if (y !== null) out.push([x, y]);
  });
  return out;
}

/** How much longer pictures took than was predicted: P50 and P95 of actual over predicted, of the last `width`. */
export function predictionError(items: readonly Item[], width = 100): { count: number; p50: number | null; p95: number | null } {
  const ratios = items
    .filter((item) => item.status === "finished")
    .slice(0, width)
    .map((item) => (item.actual?.total_s ?? 0) / (item.predicted?.total_s ?? 0))
    .filter((ratio) => Number.isFinite(ratio) && ratio > 0);
  return { count: ratios.length, p50: quantile(ratios, 0.5), p95: quantile(ratios, 0.95) };
}

export interface Summary {
  finished: number;
  refused: number;
  failed: number;
  withDeadline: number;
  metShare: number | null;
  p50_s: number | null;
  p95_s: number | null;
  quality: number | null;
  energy_j: number | null;
}

/** Of the device and the node together. */
export function energyOf(split: Split | null | undefined): number | null {
  if (split?.device_energy_j == null || split.node_energy_j == null) return null;
  return split.device_energy_j + split.node_energy_j;
}

export function summarise(items: readonly Item[]): Summary {
  const done = items.filter((item) => item.status === "finished" && item.actual);
  const judged = done.filter((item) => typeof item.met_deadline === "boolean" && item.deadline_s != null);
  const totals = done.map((item) => item.actual?.total_s ?? 0);
  const qualities = done.map((item) => item.quality_estimate).filter((q): q is number => typeof q === "number");
  const energies = done.map((item) => energyOf(item.actual)).filter((e): e is number => e !== null);
  return {
    finished: done.length,
    refused: items.filter((item) => item.status === "refused").length,
    failed: items.filter((item) => item.status === "failed").length,
    withDeadline: judged.length,
    metShare: mean(judged.map((item) => (item.met_deadline ? 1 : 0))),
    p50_s: quantile(totals, 0.5),
    p95_s: quantile(totals, 0.95),
    quality: mean(qualities),
    energy_j: mean(energies),
  };
}
