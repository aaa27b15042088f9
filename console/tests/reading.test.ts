import { describe, expect, it } from "vitest";

import { backoff_ms } from "../src/live/feed";
import { latencyChart, predictionChart, ticks } from "../src/logic/charts";
import { matches } from "../src/logic/filter";
import { ranked } from "../src/logic/plan";
import { clauses, happenings, itemOf } from "../src/logic/story";
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
    const without = { ...plan, predicted: split(2), quality_estimate: 0.6, alternatives: plan.alternatives.slice(0, 3) };
    expect(ranked(without).map(({ node }) => node)).toEqual(["b", "d", "c", "a"]);
    expect(ranked(without)[0]).toMatchObject({ steps: 4, predicted: { total_s: 2 }, quality_estimate: 0.6 });
    expect(ranked({ ...plan, decision: null }).map(({ node }) => node)).toEqual(["d", "c", "b", "a"]);
  });
});

describe("story", () => {
  it("reads the journal lines of a request, and skips what it cannot show", () => {
    const told = { id: "a", prompt: "p", events: [{ after_s: 0, what: "arrived", origin: "phone" }, { after_s: 0.5, what: "started", digest: { x: 1 } }, 3] };
    expect(happenings(told)).toEqual([
      { after_s: 0, name: "arrived", rest: "origin phone" },
      { after_s: 0.5, name: "started", rest: "" },
    ]);
    expect(itemOf(told)?.id).toBe("a");
    expect(itemOf({ item: { id: "b", prompt: "q" } })?.id).toBe("b");
    expect(itemOf({})).toBeNull();
  });
});

describe("clauses", () => {
  it("parts what was chosen from what was passed over", () => {
    expect(clauses("cloud: meets 3 s; phone gives -0.17 quality; edge-1 is late. Decided by planner.")).toEqual([
      "cloud: meets 3 s", "phone gives -0.17 quality", "edge-1 is late",
    ]);
    expect(clauses("it is idle")).toEqual(["it is idle"]);
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

  it("gives a single picture a minute of room", () => {
    const { xAxis } = latencyChart(made.slice(0, 1), palette) as { xAxis: { min: number; max: number } };
    expect([xAxis.min, xAxis.max]).toEqual([2000 - 60_000, 2000]);
  });

  it("uses one scale for predicted and actual", () => {
    const option = predictionChart(made, palette) as { xAxis: { max: number }; yAxis: { max: number } };
    expect(points(option).map(({ value }) => value)).toEqual([[2, 1], [1, 3]]);
    expect(option.xAxis.max).toBe(option.yAxis.max);
    expect(option.xAxis.max).toBeGreaterThanOrEqual(3);
  });

  it.each([0.01, 0.037, 0.99, 1, 3.06, 47, 1000])("marks an axis up to %s in round steps", (most) => {
    const { step, end } = ticks(most);
    expect([1, 2, 5]).toContain(Number((step / 10 ** Math.floor(Math.log10(step) + 1e-9)).toFixed(6)));
    expect(end).toBeGreaterThanOrEqual(most);
    expect(end / step).toBeCloseTo(Math.round(end / step));
    expect(Math.round(end / step)).toBeLessThanOrEqual(6);
  });
});
