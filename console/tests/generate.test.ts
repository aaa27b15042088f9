import { beforeEach, describe, expect, it, vi } from "vitest";

import { GatewayError, names } from "../src/live/api";
import { generate, isOf, type Run } from "../src/live/generate";
import { getState } from "../src/live/store";
import { BLANK } from "../src/logic/form";
import type { Item } from "../src/types";

const FORM = { ...BLANK, prompt: "a red circle" };
const fetched = vi.fn<(url: URL, init: RequestInit) => Promise<Response>>();

beforeEach(() => {
  const kept = new Map<string, string>([["edgegen.key", "sesame"]]);
  vi.stubGlobal("sessionStorage", { getItem: (name: string) => kept.get(name) ?? null, setItem: kept.set.bind(kept) });
  vi.stubGlobal("document", { baseURI: "http://gateway/under/path/" });
  vi.stubGlobal("fetch", fetched);
  fetched.mockReset();
});

async function run(by: Partial<typeof FORM> = {}, signal = new AbortController().signal): Promise<Run[]> {
  const shown: Run[] = [];
  await generate({ ...FORM, ...by }, signal, (news) => shown.push(news));
  return shown;
}

const sse = (...events: [string, object][]) =>
  new Response(events.map(([name, data]) => `event: image_generation.${name}\ndata: ${JSON.stringify(data)}\n\n`).join(""));
const sent = () => JSON.parse(fetched.mock.calls[0]?.[1].body as string) as Record<string, never>;

describe("generate", () => {
  it("streams partial pictures, then the final one with its decision", async () => {
    const item = { id: "img-1", prompt: "a red circle", created: 5, node: "edge-1" };
    fetched.mockResolvedValue(sse(["partial_image", { b64_json: "AA" }], ["completed", { b64_json: "BB", edgegen: { items: [item] } }]));
    const shown = await run({ deadline: "2" });
    const last = shown.at(-1) as Run;
    expect(last).toMatchObject({ over: true, error: null, final: "data:image/png;base64,BB", partials: ["data:image/png;base64,AA"] });
    expect(last.items[0]).toMatchObject({ id: "img-1", status: "finished" });
    expect(getState().items.find(({ id }) => id === "img-1")).toMatchObject({ node: "edge-1", status: "finished" });
    expect(sent()).toMatchObject({ stream: true, partial_images: 3, edgegen: { deadline_ms: 2000, seed: last.seed } });
  });

  it("keeps below the page's own path and sends the key", async () => {
    fetched.mockResolvedValue(sse(["completed", { b64_json: "BB" }]));
    await run();
    const [url, init] = fetched.mock.calls[0] as [URL, RequestInit];
    expect(url.href).toBe("http://gateway/under/path/v1/images/generations");
    expect(new Headers(init.headers).get("Authorization")).toBe("Bearer sesame");
  });

  it("hands on a refusal with its offer", async () => {
    const error = { message: "too soon", code: "infeasible", offer: { node: "edge-1" } };
    fetched.mockResolvedValue(Response.json({ error }, { status: 400 }));
    expect((await run()).at(-1)).toMatchObject({ over: true, error: { message: "too soon", status: 400, offer: { node: "edge-1" } } });
  });

  it("says when to come back", async () => {
    fetched.mockResolvedValue(new Response("busy", { status: 429, headers: { "Retry-After": "3" } }));
    expect((await run()).at(-1)?.error).toMatchObject({ status: 429, retryAfter_s: 3, message: "The gateway answered 429." });
  });

  it("asks for a key when the gateway wants one", async () => {
    fetched.mockResolvedValue(Response.json({ error: { message: "no" } }, { status: 401 }));
    await run();
    expect(getState().needKey).toBe(true);
  });

  it("notices a stream that fails or ends too soon", async () => {
    fetched.mockResolvedValueOnce(sse(["partial_image", { b64_json: "AA" }]));
    expect((await run()).at(-1)?.error?.message).toContain("before the picture was finished");
    fetched.mockResolvedValueOnce(new Response('event: error\ndata: {"error":{"message":"worker lost"}}\n\n'));
    expect((await run()).at(-1)?.error?.message).toBe("worker lost");
  });

  it("tells an unreachable gateway from a cancelled request", async () => {
    fetched.mockRejectedValueOnce(new TypeError("Failed to fetch"));
    expect((await run()).at(-1)?.error).toMatchObject({ status: 0, code: null });
    const stop = new AbortController();
    stop.abort();
    fetched.mockRejectedValueOnce(new DOMException("aborted", "AbortError"));
    expect((await run({}, stop.signal)).at(-1)?.error?.code).toBe("cancelled");
  });

  it("asks for several pictures without a stream", async () => {
    fetched.mockResolvedValue(Response.json({ edgegen: { items: [{ id: "m1", prompt: "p", created: 6 }, { id: "m2", prompt: "p", created: 6 }] } }));
    const last = (await run({ pictures: 2 })).at(-1) as Run;
    expect(last.items.map(({ id }) => id)).toEqual(["m1", "m2"]);
    expect(sent()).toMatchObject({ n: 2, response_format: "url" });
    expect(sent()).not.toHaveProperty("stream");
  });
});

describe("isOf", () => {
  it("recognises the page's own pictures by prompt and seed", () => {
    const mine = { prompt: "p", seed: 10, pictures: 2 } as Run;
    const seen = [9, 10, 11, 12].map((seed) => isOf(mine, { prompt: "p", seed } as Item));
    expect(seen).toEqual([false, true, true, false]);
    expect(isOf(mine, { prompt: "other", seed: 10 } as Item)).toBe(false);
  });
});

describe("names", () => {
  it("reads plain names and listings alike", () => {
    expect(names({ data: [{ id: "a" }, { name: "b" }, {}] })).toEqual(["a", "b"]);
    expect(names(["c"])).toEqual(["c"]);
    expect(names(null)).toEqual([]);
    expect(new GatewayError("x", 0).message).toBe("x");
  });
});
