import { describe, expect, it } from "vitest";

import { BLANK, check, requestBody, takeOffer } from "../src/logic/form";

const FILLED = { ...BLANK, prompt: " a red circle " };
const OFFER = { node: "edge-1", model: "shapes-s", steps: 4, total_s: 0.412, quality: 0.63, energy_j: 3.1 };

describe("check", () => {
  it("accepts an empty limit and refuses a meaningless one", () => {
    expect(check(FILLED)).toEqual({});
    expect(Object.keys(check({ ...BLANK, deadline: "-1", energy_j: "x", steps: "2.5", tiers: [] })).sort()).toEqual(
      ["deadline", "energy_j", "prompt", "steps", "tiers"],
    );
  });
});

describe("requestBody", () => {
  it("asks for nothing that was not asked", () => {
    expect(requestBody(FILLED, 7)).toEqual({ prompt: "a red circle", model: "auto", size: "auto", edgegen: { seed: 7 } });
  });

  it("says every limit in the units of the interface", () => {
    const body = requestBody(
      { ...FILLED, deadline: "1,5", energy_j: "20", floor: 0.8, steps: "4", origin: "phone", tiers: ["cloud", "edge"], pictures: 4 },
      7,
    );
    expect(body).toEqual({
      prompt: "a red circle", model: "auto", size: "auto", n: 4,
      edgegen: { seed: 7, deadline_ms: 1500, max_energy_j: 20, min_quality: 0.8, steps: 4, origin: "phone", tiers: ["edge", "cloud"] },
    });
    expect(requestBody({ ...FILLED, deadline: "250", deadlineUnit: "ms" }, 7)).toMatchObject({ edgegen: { deadline_ms: 250 } });
  });
});

describe("takeOffer", () => {
  it("loosens what the offer breaks", () => {
    const taken = takeOffer({ ...FILLED, deadline: "10", deadlineUnit: "ms", energy_j: "1", floor: 0.9 }, OFFER);
    expect(taken).toMatchObject({ deadline: "0.52", deadlineUnit: "s", energy_j: "3.9", floor: 0.6, nodes: ["edge-1"], model: "shapes-s", steps: "4" });
    expect(check(taken)).toEqual({});
  });

  it("keeps limits that the offer already meets, and sets none", () => {
    expect(takeOffer({ ...FILLED, deadline: "9", floor: 0.5 }, OFFER)).toMatchObject({ deadline: "9", floor: 0.5, energy_j: "" });
    expect(takeOffer(FILLED, OFFER).deadline).toBe("");
  });
});
