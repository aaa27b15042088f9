/** Follows the gateway's events for as long as the page lives, and comes back when the line breaks. */

import { apply, history, isOver, newsOf, type News } from "../logic/state";
import { GatewayError, call, read } from "./api";
import { events } from "./sse";
import { change, getState } from "./store";

const HISTORY = 200; // of the gateway's list; what happens from now on comes by events
const SILENCE_MS = 12_000; // node news comes about once a second
const OPEN_MS = 15_000; // until the gateway answers at all
const RECHECK_MS = 30_000; // a slow page may miss events
const USAGE_MS = 5_000; // what keys took is looked at so often
const BATCH_MS = 80; // many events, one repaint

let wake: (() => void) | null = null;

/** Try again at once, for instance after a key was entered. */
export function retryNow(): void {
  wake?.();
}

/** Doubling waits with a little chance, so that many pages do not come back in step. */
export function backoff_ms(attempt: number, chance: number): number {
  return Math.min(15_000, 500 * 2 ** attempt) * (0.75 + 0.5 * chance);
}

export async function follow(signal: AbortSignal): Promise<void> {
  let attempt = 0;
  while (!signal.aborted) {
    try {
      await session(signal, () => (attempt = 0));
    } catch (error) {
      if (error instanceof GatewayError && error.status === 401) change((state) => ({ ...state, needKey: true }));
    }
    if (signal.aborted) return;
    const wait_ms = backoff_ms(attempt++, Math.random());
    change((state) => ({ ...state, connection: { kind: "lost", retryAt_ms: Date.now() + wait_ms } }));
    await pause(wait_ms);
  }
}

async function session(signal: AbortSignal, opened: () => void): Promise<void> {
  const line = new AbortController();
  const hangUp = () => line.abort();
  signal.addEventListener("abort", hangUp);
  const tooLate = setTimeout(hangUp, OPEN_MS);
  const recheck = setInterval(() => void catchUp().catch(() => undefined), RECHECK_MS);
  const bill = setInterval(() => void lookAtUsage(), USAGE_MS);
  const inbox = new Inbox();
  try {
    const open = unfinished();
    const response = await call("v1/events", { signal: line.signal });
    clearTimeout(tooLate);
    // Events are open before the list is read, so nothing falls between the two.
    await prepare(open);
    opened();
    change((state) => ({ ...state, connection: { kind: "live" }, needKey: false }));
    for await (const message of events(response, SILENCE_MS)) {
      const news = newsOf(message.event, message.data);
      if (news) inbox.add(news);
    }
  } finally {
    clearTimeout(tooLate);
    clearInterval(recheck);
    clearInterval(bill);
    signal.removeEventListener("abort", hangUp);
    hangUp(); // whatever went wrong, no connection is left behind: a browser has few of them
    inbox.flush();
  }
}

function unfinished(): string[] {
  return getState().items.filter((item) => !isOver(item)).map((item) => item.id);
}

async function catchUp(): Promise<void> {
  if (unfinished().length === 0) return;
  const items = await read.requests(HISTORY);
  change((state) => history(state, items, Date.now() / 1000));
}

async function lookAtUsage(): Promise<void> {
  const usage = await optional(read.usage(), getState().usage);
  change((state) => ({ ...state, usage }));
}

async function prepare(open: string[]): Promise<void> {
  const [nodes, items] = await Promise.all([read.nodes(), read.requests(HISTORY)]);
  change((state) => history(apply(state, { kind: "nodes", nodes }, Date.now() / 1000), items, Date.now() / 1000, open));
  await lookAtUsage();
  const [grammar, models, policies] = await Promise.all([
    getState().grammar ?? optional(read.grammar(), null),
    optional(read.models(), getState().models),
    optional(read.policies(), getState().policies),
  ]);
  change((state) => ({ ...state, grammar, models, policies }));
}

/** The page is useful without these. */
function optional<T>(wanted: Promise<T>, otherwise: T): Promise<T> {
  return wanted.catch(() => otherwise);
}

class Inbox {
  private waiting: News[] = [];
  private timer: ReturnType<typeof setTimeout> | null = null;

  add(news: News): void {
    this.waiting.push(news);
    this.timer ??= setTimeout(() => this.flush(), BATCH_MS);
  }

  flush(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    const batch = this.waiting;
    this.waiting = [];
    if (batch.length === 0) return;
    change((state) => batch.reduce((all, news) => apply(all, news, Date.now() / 1000), state));
  }
}

function pause(wait_ms: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, wait_ms);
    wake = () => {
      clearTimeout(timer);
      resolve();
    };
  });
}
