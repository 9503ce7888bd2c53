// How much of what the page shows is the X server's screen, pixel by pixel, and from when on all of it.

import { installPeek } from './stage.mjs';
import { quantile } from './platform.mjs';

/** Milliseconds after the end of a change at which shares are told. */
export const MOMENTS = [50, 100, 200, 500, 1000, 2000, 5000];

/**
 * `end` ends a change of the screen; the page's picture is followed for `seconds` from then on and compared with what the
 * screen then is. Gives the milliseconds until all pixels were equal (null: they never were), until the page said so, and
 * the shares of equal pixels at the moments.
 */
export async function untilExact(stage, seconds, end) {
  const { page, width, height } = stage;
  await installPeek(page);
  await page.evaluate(installFilm);
  const ended = await end();
  const claimed = await page.evaluate(([width, height, seconds]) => window.film.record(width, height, seconds), [width, height, seconds]);
  const shares = await page.evaluate((screen) => window.film.compare(screen), await screenOf(stage));
  const after = (time) => Math.max(0, time - ended);
  const exact = shares.findLastIndex(({ share }) => share < 1) + 1;
  return {
    ms: exact < shares.length ? after(shares[exact].time) : null,
    claimedMs: claimed === null ? null : after(claimed),
    shares: MOMENTS.filter((ms) => ms <= seconds * 1000).map((ms) => ({ ms, share: shares.findLast(({ time }) => after(time) <= ms)?.share ?? null })),
  };
}

/** The share of the page's pixels that are the X server's, now. */
export async function shareNow(stage) {
  const { page, width, height } = stage;
  await installPeek(page);
  await page.evaluate(installFilm);
  await page.evaluate(([width, height]) => window.film.record(width, height, 0), [width, height]);
  const shares = await page.evaluate((screen) => window.film.compare(screen), await screenOf(stage));
  return shares.at(-1).share;
}

/** Several measurements as one: medians; exact only if all became so. */
export function together(runs) {
  const middle = (values) => (values.length ? quantile(values, 0.5) : null);
  const times = runs.map(({ ms }) => ms);
  return {
    runs: runs.length,
    exact: times.filter((ms) => ms !== null).length,
    ms: times.includes(null) ? null : middle(times),
    worstMs: times.includes(null) ? null : Math.max(...times),
    claimedMs: runs.some(({ claimedMs }) => claimedMs === null) ? null : middle(runs.map(({ claimedMs }) => claimedMs)),
    shares: (runs[0]?.shares ?? []).map(({ ms }, i) => ({ ms, share: middle(runs.map(({ shares }) => shares[i].share).filter((share) => share !== null)) })),
  };
}

async function screenOf(stage) {
  const { width, height, data } = await stage.screenshot();
  if (width !== stage.width || height !== stage.height) throw new Error(`the screen has become ${width}x${height}`);
  return data.toString('base64');
}

// In the page. Pictures that differ from the one before are kept whole; the clock is that of Date.now().
function installFilm() {
  const MOST = 80;
  const clock = () => performance.timeOrigin + performance.now();
  let pictures = [];
  window.film = {
    /** Gives the time when the page began to say that its picture is exact, and went on to. */
    async record(width, height, seconds) {
      pictures = [];
      const stage = document.querySelector('[data-testid=session-canvas]');
      const says = () => stage.dataset.exact === 'true';
      let claimed = says() ? clock() : null;
      const observer = new MutationObserver(() => (claimed = says() ? (claimed ?? clock()) : null));
      observer.observe(stage, { attributeFilter: ['data-exact'] });
      const began = clock();
      do {
        const data = new Uint32Array(window.peek(0, 0, width, height).buffer);
        const time = clock();
        const last = pictures.at(-1)?.data;
        let same = last ? 0 : -1;
        while (same >= 0 && same < data.length && data[same] === last[same]) same++;
        if (same < data.length) {
          if (pictures.length === MOST) pictures.pop();
          pictures.push({ time, data });
        }
        // Looking costs the page time that it needs for drawing: less often as time goes by.
        const passed = time - began;
        await new Promise((resolve) => setTimeout(resolve, passed < 500 ? 15 : passed < 2000 ? 40 : 100));
      } while (clock() < began + seconds * 1000);
      observer.disconnect();
      return claimed;
    },
    async compare(base64) {
      const screen = new Uint32Array(Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)).buffer);
      return pictures.splice(0).map(({ time, data }) => {
        let equal = 0;
        for (let i = 0; i < screen.length; i++) if (data[i] === screen[i]) equal++;
        return { time, share: equal / screen.length };
      });
    },
  };
}
