import { describe, expect, it } from "vitest";

import * as format from "../src/logic/format";
import { quantile, rolling, summarise } from "../src/logic/stats";
import type { Item, Split } from "../src/types";

const split = (total_s: number): Split => ({
  upload_s: 0, queue_s: 0, load_s: 0, generate_s: total_s, download_s: 0, total_s,
  device_energy_j: 1, node_energy_j: 2, money_usd: 0,
});

const plain = (text: string) => text.replaceAll("\u00a0", " ");

describe("format", () => {
  it.each([
    [0, "0 ms"], [0.0001, "<1 ms"], [0.012, "12 ms"], [0.9996, "1.00 s"], [1.234, "1.23 s"], [12.34, "12.3 s"], [125, "2 min 5 s"], [null, "–"], [NaN, "–"],
  ])("seconds(%s) is %s", (value, text) => expect(plain(format.seconds(value))).toBe(text));

  it.each([[0, "0 J"], [0.0125, "12.5 mJ"], [3.456, "3.46 J"], [120, "120 J"], [1430, "1.43 kJ"], [undefined, "–"]])(
    "joules(%s) is %s", (value, text) => expect(plain(format.joules(value))).toBe(text),
  );

  it("says rates, money, shares and counts", () => {
    expect(plain(format.bitrate(2.4e7))).toBe("24 Mbit/s");
    expect(plain(format.bitrate(1e9))).toBe("1 Gbit/s");
    expect(format.dollars(0.0000344)).toBe("$0.000034");
    expect(format.dollars(1.5)).toBe("$1.50");
    expect(plain(format.share(0.876))).toBe("88 %");
    expect(format.count(1, "node", "nodes")).toBe("1 node");
    expect(format.quality(0.915)).toMatch(/^0\.9[12]$/);
  });
});

describe("quantile", () => {
  it("interpolates, and has no opinion on nothing", () => {
    expect(quantile([], 0.5)).toBeNull();
    expect(quantile([4, 1, 3, 2], 0.5)).toBe(2.5);
    expect(quantile([10], 0.95)).toBe(10);
    expect(quantile([0, 10], 0.95)).toBeCloseTo(9.5);
  });
});

describe("rolling", () => {
  it("looks back only, and stays silent until it has enough", () => {
    const points = [1, 2, 3, 4].map((y, x) => [x, y] as const);
    expect(rolling(points, 2, (values) => Math.max(...values), 2)).toEqual([[1, 2], [2, 3], [3, 4]]);
  });
});

describe("summarise", () => {
  it("judges deadlines only where there was one", () => {
    const base = { prompt: "p", created: 0, status: "finished" as const, actual: split(1), quality_estimate: 0.5 };
    const items: Item[] = [
      { ...base, id: "a", deadline_s: 2, met_deadline: true },
      { ...base, id: "b", deadline_s: 0.5, met_deadline: false, actual: split(3) },
      { ...base, id: "c" },
      { id: "d", prompt: "p", created: 0, status: "refused" },
      { id: "e", prompt: "p", created: 0, status: "running" },
    ];
    expect(summarise(items)).toEqual({
      finished: 3, refused: 1, failed: 0, withDeadline: 2, metShare: 0.5, p50_s: 1, p95_s: expect.closeTo(2.8), quality: 0.5, energy_j: 3,
    });
    expect(summarise([]).p50_s).toBeNull();
  });
});
