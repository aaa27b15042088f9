/** The one place that holds the page's state; components subscribe to slices of it. */

import { useSyncExternalStore } from "react";

import { EMPTY, type State } from "../logic/state";

type Change = (state: State) => State;

let state: State = EMPTY;
const listeners = new Set<() => void>();

export function getState(): State {
  return state;
}

export function change(by: Change): void {
  const next = by(state);
  if (next === state) return;
  state = next;
  listeners.forEach((listener) => listener());
}

/** `pick` must return a part of the state as it is, not a new object. */
export function useStore<T>(pick: (state: State) => T): T {
  return useSyncExternalStore(subscribe, () => pick(state));
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
