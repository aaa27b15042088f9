import { describe, expect, it } from "vitest";

import { backoff_ms } from "../src/live/feed";
import { latencyChart, predictionChart } from "../src/logic/charts";
import { matches } from "../src/logic/filter";
import { ranked } from "../src/logic/plan";
import { happenings, itemOf } from "../src/logic/story";
import type { Alternative, Item, Plan, Split } from "../src/types";

const split = (total_s: number) => ({ total_s, device_energy_j: 0, node_energy_j: 0 }) as Split;
const choice = (node: string, steps: number, by: Partial<Alternative>): Alternative => ({
  node, model: "shapes-m", steps, predicted: split(1), quality_estimate: 0.5, feasible: true, why_not: null, ...by,
});

describe("ranked", () => {
  it("puts the chosen first, the possible next, the impossible last", () => {
    const plan = {
      decision: { node: "b", tier: "edge", model: "shapes-m", steps: 4 },
      alternatives: [
        choice("a", 8, { feasible: false, quality_estimate: 0.99 }), choice("c", 8, { quality_estimate: 0.7 }),
        choice("d", 8, { quality_estimate: 0.7, predicted: split(0.5) }), choice("b", 4, { quality_estimate: 0.6 }),
      ],
    } as unknown as Plan;
    expect(ranked(plan).map(({ node }) => node)).toEqual(["b", "d", "c", "a"]);
  });
});

describe("story", () => {
  it("reads events whatever their clock and name are called", () => {
    const told = { id: "a", prompt: "p", events: [{ at_s: 10, event: "Arrived", origin: "phone" }, { at_s: 10.5, event: "Started", digest: { x: 1 } }, 3] };
    expect(happenings(told)).toEqual([
      { after_s: 0, name: "Arrived", rest: "origin phone" },
      { after_s: 0.5, name: "Started", rest: "" },
    ]);
    expect(itemOf(told)?.id).toBe("a");
    expect(itemOf({ item: { id: "b", prompt: "q" } })?.id).toBe("b");
    expect(itemOf({})).toBeNull();
  });
});

describe("filter", () => {
  it("counts a late picture as made", () => {
    const late = { id: "a", status: "finished", met_deadline: false } as Item;
    expect(["all", "made", "late", "refused", "failed"].filter((name) => matches(late, name as "all"))).toEqual(["all", "made", "late"]);
  });
});

describe("backoff_ms", () => {
  it("grows, is bounded, and spreads", () => {
    expect(backoff_ms(0, 0.5)).toBe(500);
    expect(backoff_ms(3, 0.5)).toBe(4000);
    expect(backoff_ms(30, 1)).toBeLessThanOrEqual(18_750);
    expect(backoff_ms(2, 0)).toBeLessThan(backoff_ms(2, 1));
  });
});

describe("charts", () => {
  const palette = { tiers: { device: "d", edge: "e", cloud: "c" }, ink: "i", muted: "m", line: "l", panel: "p", bad: "b" };
  const made: Item[] = [
    { id: "new", prompt: "p", created: 2, status: "finished", tier: "edge", predicted: split(1), actual: split(3), met_deadline: false },
    { id: "old", prompt: "p", created: 1, status: "finished", tier: "edge", predicted: split(2), actual: split(1), met_deadline: true },
    { id: "no", prompt: "p", created: 0, status: "refused" },
  ];
  type Series = { id: string; data: { id: string; value: number[]; itemStyle: { borderColor?: string } }[] };
  const points = (option: object) => (option as { series: Series[] }).series.find(({ id }) => id === "edge")?.data ?? [];

  it("draws finished pictures oldest first and rings the late ones", () => {
    const drawn = points(latencyChart(made, palette));
    expect(drawn.map(({ id, value }) => [id, ...value])).toEqual([["old", 1000, 1], ["new", 2000, 3]]);
    expect(drawn.map(({ itemStyle }) => itemStyle.borderColor)).toEqual([undefined, "b"]);
  });

  it("uses one scale for predicted and actual", () => {
    const option = predictionChart(made, palette) as { xAxis: { max: number }; yAxis: { max: number } };
    expect(points(option).map(({ value }) => value)).toEqual([[2, 1], [1, 3]]);
    expect(option.xAxis.max).toBe(option.yAxis.max);
    expect(option.xAxis.max).toBeGreaterThan(3);
  });
});
