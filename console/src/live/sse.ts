/** Server-sent events over fetch: EventSource can neither send a key nor POST. */

export interface Message {
  event: string;
  data: string;
}

/** Feed it text in pieces of any size; it gives back the events that became complete. */
export class EventParser {
  private buffer = "";
  private event = "";
  private data: string[] = [];

  push(text: string): Message[] {
    this.buffer += text;
    const out: Message[] = [];
    let end: number;
    while ((end = lineEnd(this.buffer)) >= 0) {
      const line = this.buffer.slice(0, end);
      const width = this.buffer.startsWith("\r\n", end) ? 2 : 1;
      this.buffer = this.buffer.slice(end + width);
      const message = this.line(line);
      if (message) out.push(message);
    }
    return out;
  }

  private line(line: string): Message | null {
    if (line === "") return this.dispatch();
    if (line.startsWith(":")) return null; // a comment keeps the connection open
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.event = value;
    if (field === "data") this.data.push(value);
    return null;
  }

  private dispatch(): Message | null {
    const message = this.data.length > 0 ? { event: this.event || "message", data: this.data.join("\n") } : null;
    this.event = "";
    this.data = [];
    return message;
  }
}

/** Position of the first complete line end. A trailing CR may be half of a CRLF, so it waits for more. */
function lineEnd(text: string): number {
  const at = text.search(/[\r\n]/);
  return at === text.length - 1 && text[at] === "\r" ? -1 : at;
}

/** Read a response's events until it ends; `silence_ms` without a byte counts as a lost connection. */
export async function* events(response: Response, silence_ms = Infinity): AsyncGenerator<Message> {
  if (!response.body) throw new Error("the gateway answered without a body");
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  const parser = new EventParser();
  try {
    for (;;) {
      const { done, value } = await within(reader.read(), silence_ms);
      if (done) return;
      yield* parser.push(decoder.decode(value, { stream: true }));
    }
  } finally {
    void reader.cancel().catch(() => undefined);
  }
}

function within<T>(promise: Promise<T>, limit_ms: number): Promise<T> {
  if (!Number.isFinite(limit_ms)) return promise;
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`nothing heard for ${limit_ms / 1000} s`)), limit_ms);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
