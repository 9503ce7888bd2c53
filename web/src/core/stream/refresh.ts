// The refresh rate of the display, which no browser tells: measured over a few frames, when the page is seen and when it
// may be on another display. Asking for frames all the time would delay the picture.

const FRAMES = 20;
const SLOWEST = 24;
const FASTEST = 500;

/** Hz, from the times of frames in milliseconds. The median: a page that just starts misses some. */
export function rateOf(times: readonly number[]): number {
  const gaps = times.slice(1).map((time, i) => time - (times[i] ?? 0));
  const median = gaps.sort((a, b) => a - b)[gaps.length >> 1] ?? 0;
  return median > 0 ? Math.min(FASTEST, Math.max(SLOWEST, Math.round(1000 / median))) : 60;
}

let measuring: Promise<number> | null = null;

/** Hz. Waits for the page to be seen. */
function refreshRate(): Promise<number> {
  measuring ??= new Promise<number>((resolve) => {
    const times: number[] = [];
    const frame = (time: number) => {
      times.push(time);
      if (times.length > FRAMES) resolve(rateOf(times));
      else requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }).finally(() => (measuring = null));
  return measuring;
}

/** Tells the rate in Hz, now and whenever it may be another, until `signal`. */
export function followRefreshRate(tell: (rate: number) => void, signal: AbortSignal): void {
  const measure = () => void refreshRate().then((rate) => signal.aborted || tell(rate));
  let ratio = window.devicePixelRatio;
  const resized = () => {
    if (window.devicePixelRatio === ratio) return;
    ratio = window.devicePixelRatio;
    measure();
  };
  document.addEventListener('visibilitychange', () => document.hidden || measure(), { signal });
  // Another display has often another ratio. Chromium tells of the display itself.
  window.addEventListener('resize', resized, { signal });
  (screen as Partial<EventTarget>).addEventListener?.('change', measure, { signal });
  measure();
}
