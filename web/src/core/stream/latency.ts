// From an input event until the first change of the picture that can show it. Of several events that a change can show,
// the newest counts: had the ones before changed anything, that would have been seen.

/** Samples that percentiles are made of. */
const SAMPLES = 100;
/** Milliseconds after which a change has another cause: most events change nothing. */
const TOO_LATE = 1_000;

export class Latency {
  #waiting: { number: number; at: number }[] = [];
  #samples: number[] = [];

  /** `at`: milliseconds of any clock. */
  sent(number: number, at: number): void {
    this.#waiting.push({ number, at });
    if (this.#waiting.length > 4 * SAMPLES) this.#waiting.shift();
  }

  /** The picture changed, and shows what events up to `input` did. */
  shown(input: number, at: number): void {
    const newest = this.#waiting.findLast(({ number }) => number <= input);
    if (!newest) return;
    this.#waiting = this.#waiting.filter(({ number }) => number > input);
    if (at - newest.at < TOO_LATE) this.#samples.push(at - newest.at);
    this.#samples.splice(0, this.#samples.length - SAMPLES);
  }

  percentiles(): { p50: number; p95: number } | null {
    if (this.#samples.length === 0) return null;
    const sorted = [...this.#samples].sort((a, b) => a - b);
    const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
    return { p50: at(0.5), p95: at(0.95) };
  }
}
