import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { follow, retryNow } from "../src/live/feed";
import { getState } from "../src/live/store";

const ANSWERS: Record<string, object> = {
  "/v1/nodes": { data: [] },
  "/v1/requests": { data: [{ id: "listed", prompt: "p", created: 1, status: "finished" }] },
  "/v1/grammar": { words: ["red"], categories: [], examples: {} },
  "/v1/models": { data: [{ id: "shapes-s" }] },
  "/v1/policies": { data: [{ name: "planner" }] },
};

let lines: { send: (text: string) => void; end: () => void; signal: AbortSignal }[];
let up: boolean;
let stop: AbortController;

function line(signal: AbortSignal): Response {
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const writer = writable.getWriter();
  lines.push({ signal, send: (text) => void writer.write(new TextEncoder().encode(text)), end: () => void writer.close() });
  return new Response(readable);
}

beforeEach(() => {
  lines = [];
  up = true;
  stop = new AbortController();
  vi.stubGlobal("sessionStorage", { getItem: () => null });
  vi.stubGlobal("document", { baseURI: "http://gateway/" });
  vi.stubGlobal("fetch", (url: URL, init: RequestInit) => {
    if (!up) return Promise.reject(new TypeError("Failed to fetch"));
    if (url.pathname === "/v1/events") return Promise.resolve(line(init.signal as AbortSignal));
    return Promise.resolve(Response.json(ANSWERS[url.pathname]));
  });
});

afterEach(() => stop.abort());

const live = () => vi.waitFor(() => expect(getState().connection.kind).toBe("live"));

describe("follow", () => {
  it("reads what there is, hears what happens, and comes back after the line broke", async () => {
    void follow(stop.signal);
    await live();
    expect(getState()).toMatchObject({ models: ["shapes-s"], policies: ["planner"], grammar: { words: ["red"] } });
    expect(getState().items.map(({ id }) => id)).toContain("listed");
    lines[0]?.send('event: decided\r\ndata: {"id":"heard","prompt":"p","created":2}\r\n\r\n');
    await vi.waitFor(() => expect(getState().items[0]).toMatchObject({ id: "heard", status: "waiting" }));
    up = false;
    lines[0]?.end();
    await vi.waitFor(() => expect(getState().connection.kind).toBe("lost"));
    expect(lines[0]?.signal.aborted).toBe(true);
    up = true;
    retryNow();
    await live();
    expect(lines).toHaveLength(2);
    // The gateway's list does not know it any more.
    expect(getState().items.find(({ id }) => id === "heard")).toMatchObject({ status: "failed" });
  });

  it("leaves no connection behind when the list cannot be read", async () => {
    ANSWERS["/v1/nodes"] = undefined as unknown as object;
    void follow(stop.signal);
    await vi.waitFor(() => expect(getState().connection.kind).toBe("lost"));
    expect(lines.map(({ signal }) => signal.aborted)).toEqual([true]);
    ANSWERS["/v1/nodes"] = { data: [] };
  });
});
