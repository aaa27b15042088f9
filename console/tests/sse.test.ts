import { describe, expect, it } from "vitest";

import { EventParser, events } from "../src/live/sse";

const STREAM = 'event: decided\ndata: {"id":"a"}\n\n: still here\n\ndata: one\ndata: two\n\nevent: nodes\ndata: {}\n\n';

describe("EventParser", () => {
  it("gives the same events however the text is cut", () => {
    const whole = new EventParser().push(STREAM);
    expect(whole).toEqual([
      { event: "decided", data: '{"id":"a"}' },
      { event: "message", data: "one\ntwo" },
      { event: "nodes", data: "{}" },
    ]);
    for (const width of [1, 2, 3, 7]) {
      const parser = new EventParser();
      const pieces = STREAM.match(new RegExp(`[^]{1,${width}}`, "g")) ?? [];
      expect(pieces.flatMap((piece) => parser.push(piece))).toEqual(whole);
    }
  });

  it("reads CRLF line ends even when they are cut in the middle", () => {
    const parser = new EventParser();
    const crlf = "event: x\r\ndata: y\r\n\r\n";
    expect([...crlf].flatMap((letter) => parser.push(letter))).toEqual([{ event: "x", data: "y" }]);
  });

  it("keeps an unfinished event to itself and drops one without data", () => {
    const parser = new EventParser();
    expect(parser.push("event: x\n\nevent: y\ndata: 1\n")).toEqual([]);
    expect(parser.push("\n")).toEqual([{ event: "y", data: "1" }]);
  });
});

describe("events", () => {
  it("decodes characters that are cut between two reads", async () => {
    const bytes = new TextEncoder().encode("data: ±\n\n");
    const at = bytes.indexOf(0xc2) + 1;
    const heard = [];
    for await (const message of events(new Response(streamOf([bytes.slice(0, at), bytes.slice(at)])))) heard.push(message.data);
    expect(heard).toEqual(["±"]);
  });

  it("takes long silence for a lost connection", async () => {
    const silent = new Response(new ReadableStream({ start: () => undefined }));
    await expect(events(silent, 20).next()).rejects.toThrow("nothing heard");
  });
});

function streamOf(pieces: Uint8Array[]): ReadableStream<Uint8Array<ArrayBuffer>> {
  return new ReadableStream({
    start(controller) {
      pieces.forEach((piece) => controller.enqueue(new Uint8Array(piece)));
      controller.close();
    },
  });
}
