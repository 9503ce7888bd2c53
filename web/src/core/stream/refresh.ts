// The refresh rate of the display, which no browser tells: measured over a few frames, once. Asking for frames all the
// time would delay the picture.

const FRAMES = 20;
const SLOWEST = 24;
const FASTEST = 500;

/** Hz, from the times of frames in milliseconds. The median: a page that just starts misses some. */
export function rateOf(times: readonly number[]): number {
  const gaps = times.slice(1).map((time, i) => time - (times[i] ?? 0));
  const median = gaps.sort((a, b) => a - b)[gaps.length >> 1] ?? 0;
  return median > 0 ? Math.min(FASTEST, Math.max(SLOWEST, Math.round(1000 / median))) : 60;
}

let measured: Promise<number> | null = null;

/** Hz. Waits for the page to be seen. */
export function refreshRate(): Promise<number> {
  measured ??= new Promise((resolve) => {
    const times: number[] = [];
    const frame = (time: number) => {
      times.push(time);
      if (times.length > FRAMES) resolve(rateOf(times));
      else requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  });
  return measured;
}
