// The time, for countdowns: ticks once a second while something shows it, and follows the server's clock.

import { createSubscriber } from 'svelte/reactivity';

let offset = 0;

/** `date`: the Date header of an answer. */
export function serverSaid(date: string | null): void {
  const at = date ? Date.parse(date) : Number.NaN;
  // The header has whole seconds; small differences are not worth a jump.
  if (Number.isFinite(at) && Math.abs(at - Date.now() - offset) > 2_000) offset = at - Date.now();
}

const subscribe = createSubscriber((update) => {
  const timer = setInterval(update, 1_000);
  return () => clearInterval(timer);
});

/** Milliseconds since the epoch by the server's clock. Reactive. */
export function now(): number {
  subscribe();
  return Date.now() + offset;
}
