import { describe, expect, it } from "vitest";

import { EMPTY, KEEP, apply, errorText, history, newsOf, type News, type State } from "../src/logic/state";
import { KEEP_HAPPENINGS } from "../src/logic/happenings";
import type { Item, NodeView } from "../src/types";

const item = (id: string, by: Partial<Item> = {}): Item => ({ id, prompt: "a red circle", created: 100, status: "waiting", ...by });
const after = (...news: News[]): State => news.reduce((state, one) => apply(state, one, 200), EMPTY);
const event = (name: string, body: object): News => newsOf(name, JSON.stringify(body)) as News;

describe("newsOf", () => {
  it("takes the status from the name of the event", () => {
    expect(newsOf("finished", '{"id":"a","status":"running"}')).toMatchObject({ kind: "item", item: { status: "finished" } });
    expect(newsOf("failed", '{"id":"a","status":"cancelled"}')).toMatchObject({ item: { status: "cancelled" } });
    expect(newsOf("decided", '{"id":"a"}')).toMatchObject({ item: { status: "waiting" } });
    expect(newsOf("nodes", '{"data":[]}')).toEqual({ kind: "nodes", nodes: [] });
  });

  it("ignores what it cannot read", () => {
    expect(newsOf("finished", "not json")).toBeNull();
    expect(newsOf("finished", "{}")).toBeNull();
    expect(newsOf("weather", '{"id":"a"}')).toBeNull();
    expect(newsOf("nodes", "null")).toBeNull();
  });
});

describe("apply", () => {
  it("tells one picture's life", () => {
    const decided = after(event("decided", item("a", { node: "edge-1" })));
    expect(decided.items[0]).toMatchObject({ status: "waiting", node: "edge-1" });
    const running = apply(decided, event("progress", { id: "a", step: 2, steps: 8, preview_b64: "xx" }), 200);
    expect(running.items[0]?.status).toBe("running");
    expect(running.progress.get("a")).toEqual({ step: 2, steps: 8, preview: "xx" });
    const later = apply(running, event("progress", { id: "a", step: 3, steps: 8 }), 200);
    expect(later.progress.get("a")).toEqual({ step: 3, steps: 8, preview: "xx" });
    const done = apply(later, event("finished", { id: "a", prompt: "a red circle", image_url: "/a.png", node: null }), 200);
    expect(done.items[0]).toMatchObject({ status: "finished", node: "edge-1", image_url: "/a.png" });
    expect(done.progress.size).toBe(0);
  });

  it("shows the steps that a picture will really have", () => {
    const running = after(event("decided", item("a", { steps: 16, reason: "fast enough" })), event("progress", { id: "a", step: 2, steps: 16 }));
    const changed = apply(running, event("retargeted", { ...item("a"), steps: 8, steps_before: 16, step: 3, reason: "others wait" }), 200);
    expect(changed.items[0]).toMatchObject({ status: "running", steps: 8, reason: "fast enough" });
    expect(changed.items[0]).not.toHaveProperty("steps_before");
    const done = apply(changed, event("finished", item("a", { steps: 8 })), 200);
    expect(apply(done, event("retargeted", { ...item("a"), steps: 4, steps_before: 8, step: 3 }), 200).items[0]?.status).toBe("finished");
  });

  it("does not bring a finished picture back to life", () => {
    const state = after(event("finished", item("a")), event("decided", item("a")), event("progress", { id: "a", step: 1, steps: 2 }));
    expect(state.items[0]?.status).toBe("finished");
    expect(state.progress.size).toBe(0);
  });

  it("keeps the newest first, whatever order they come in", () => {
    const state = after(event("decided", item("b", { created: 2 })), event("decided", item("a", { created: 1 })), event("decided", item("c", { created: 3 })));
    expect(state.items.map(({ id }) => id)).toEqual(["c", "b", "a"]);
  });

  it("remembers a bounded number of pictures, and no progress of forgotten ones", () => {
    let state = after(event("decided", item("first", { created: 0 })), event("progress", { id: "first", step: 1, steps: 9 }));
    expect(state.progress.size).toBe(1);
    for (let i = 0; i < KEEP + 20; i++) state = apply(state, event("decided", item(`i${i}`, { created: i + 1 })), 200);
    expect(state.items).toHaveLength(KEEP);
    expect(state.items[0]?.id).toBe(`i${KEEP + 19}`);
    expect(state.progress.size).toBe(0);
  });

  it("does not touch the state it was given", () => {
    const before = after(event("decided", item("a")));
    const copy = structuredClone(before.items);
    apply(before, event("finished", item("a", { node: "x" })), 200);
    expect(before.items).toEqual(copy);
  });
});

describe("what happens", () => {
  const node = (name: string, alive = true) => ({ name, alive }) as NodeView;

  it("tells retargets and migrations, and goes on with the picture", () => {
    const state = after(
      event("decided", item("a", { node: "edge-1", steps: 16 })),
      event("retargeted", { ...item("a", { node: "edge-1" }), steps: 8, steps_before: 16, step: 3, reason: "others wait" }),
      event("migrated", { ...item("a", { node: "edge-1", steps: 8 }), to: "cloud", reason: "edge-1 is slow" }),
    );
    expect(state.happenings.map(({ what, id, text }) => [what, id, text])).toEqual([
      ["migrated", "a", "from edge-1 to cloud: edge-1 is slow"],
      ["retargeted", "a", "16 → 8 steps on edge-1: others wait"],
    ]);
    expect(state.items[0]).toMatchObject({ node: "edge-1", steps: 8, status: "running" });
    const arrived = apply(state, event("decided", item("a", { node: "cloud", status: "running" })), 200);
    expect(arrived.items[0]).toMatchObject({ node: "cloud" });
  });

  it("sees nodes come and go, and says each once", () => {
    const first = after({ kind: "nodes", nodes: [node("edge-1"), node("edge-2")] });
    expect(first.happenings).toEqual([]);
    const lost = apply(first, event("lost", { node: "edge-1", reason: "killed" }), 200);
    const seen = apply(lost, { kind: "nodes", nodes: [node("edge-1", false), node("edge-2"), node("laptop")] }, 201);
    expect(seen.happenings.map(({ text }) => text)).toEqual(["laptop joined", "edge-1 left: killed"]);
    const later = apply(seen, { kind: "nodes", nodes: [node("edge-1"), node("edge-2")] }, 300);
    expect(later.happenings.slice(0, 2).map(({ text }) => text).sort()).toEqual(["edge-1 joined", "laptop left"]);
  });

  it("remembers a bounded number", () => {
    let state = EMPTY;
    for (let i = 0; i < 200; i++) state = apply(state, event("joined", { node: `n${i}` }), 1000 + i);
    expect(state.happenings).toHaveLength(KEEP_HAPPENINGS);
    expect(state.happenings[0]?.node).toBe("n199");
  });
});

describe("history", () => {
  it("merges the gateway's list with what was already heard", () => {
    const heard = after(event("finished", item("b", { created: 2, node: "edge-1" })));
    const merged = history(heard, [item("b", { created: 2 }), item("a", { created: 1, status: "refused" })], 200);
    expect(merged.items.map(({ id, status }) => [id, status])).toEqual([["b", "finished"], ["a", "refused"]]);
  });

  it("gives up on pictures that the gateway has forgotten, and on no others", () => {
    const heard = after(event("decided", item("old")), event("decided", item("kept")), event("decided", item("new")));
    const merged = history(heard, [item("kept", { status: "running" })], 200, ["old", "kept"]);
    expect(Object.fromEntries(merged.items.map(({ id, status }) => [id, status]))).toEqual({ old: "failed", kept: "running", new: "waiting" });
  });

  it("keeps the list's order among equal times", () => {
    expect(history(EMPTY, [item("b"), item("a")], 200).items.map(({ id }) => id)).toEqual(["b", "a"]);
  });
});

describe("errorText", () => {
  it("prefers the gateway's words", () => {
    expect(errorText(item("a", { error: "no" }))).toBe("no");
    expect(errorText(item("a", { error: { message: "late" } }))).toBe("late");
    expect(errorText(item("a", { reason: "because" }))).toBe("because");
    expect(errorText(item("a", { status: "cancelled" }))).toBe("The picture was cancelled.");
  });
});
