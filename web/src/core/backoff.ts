// How long to wait before attempt n of something that failed.

export interface BackoffLimits {
  /** Milliseconds before the second attempt; doubles from there. */
  first: number;
  /** Longest wait, milliseconds. */
  longest: number;
}

/**
 * Milliseconds to wait after `failures` failures in a row (1 or more): doubled each time, between half and the whole of
 * it at random, so that a restarted server is not met by all its clients at once.
 */
export function backoff(failures: number, limits: BackoffLimits, random: () => number = Math.random): number {
  const whole = Math.min(limits.longest, limits.first * 2 ** Math.min(failures - 1, 30));
  return Math.round(whole * (0.5 + random() / 2));
}
