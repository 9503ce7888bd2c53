// Nothing older than promised is lost, whatever dies: somebody paints by the browser, something dies at a random moment, and
// the strokes are counted in the image that comes back, by its pixels.
//
// KILLS: rounds (default 6); KILLS_SEED: which deaths and moments (default 1). The intervals are shorter than they are by
// default, so that rounds are.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

import type { Page } from '@playwright/test';
import { PNG } from 'pngjs';

import { Gimp } from '../gimp.ts';
import { type Api, type Platform, Refused, until } from '../platform.ts';
import { expect, register, test } from '../story.ts';
import { type Death, deaths, keepAlive, makeRoom, type Scene } from './deaths.ts';
import { Dice } from './dice.ts';
import { groundPng, Painter, paintedCells, type Stroke } from './painter.ts';

const rounds = Number(process.env['KILLS'] ?? 6);
const seed = Number(process.env['KILLS_SEED'] ?? 1);
/** Milliseconds, as `copy_pause_seconds` and `copy_seconds`. */
const copyPause = 3000;
const longestWithoutCopy = 8000;
/** Milliseconds that a copy may take once it is due: GIMP is asked for its documents first. */
const copying = 2000;

test.use({
  settings: {
    copy_pause_seconds: copyPause / 1000,
    copy_seconds: longestWithoutCopy / 1000,
    session_minutes: 1,
    warn_minutes: 0,
    quota_gb: 1,
  },
});

test(`${rounds} random deaths while somebody paints lose nothing older than promised`, async ({ page, platform, pageErrors }) => {
  test.setTimeout(rounds * 180_000 + 120_000);
  const user = await register(page, 'ada@example.org');
  const api = await platform.signIn('ada@example.org');
  const dice = new Dice(seed);
  const possible = deaths.filter(({ root }) => !root || process.getuid?.() === 0);
  const failures: string[] = [];
  let oldest = 0;
  let deck: Death[] = [];
  for (let round = 1; round <= rounds; round++) {
    if (deck.length === 0) deck = dice.shuffled(possible);
    const death = deck.pop()!;
    // Of its own, so that a round can be had again however long those before it took.
    const own = new Dice(Math.floor(dice.roll() * 2 ** 32));
    const began = Date.now();
    try {
      const { told, lost, age } = await play(page, platform, api, user, death, own);
      oldest = Math.max(oldest, age);
      console.log(`${round} ${death.name}: ${told} (${Math.round((Date.now() - began) / 1000)} s)`);
      if (lost.length > 0) failures.push(`${round} ${death.name}: ${told}`);
    } catch (error) {
      failures.push(`${round} ${death.name}: ${error}`);
      console.log(failures.at(-1));
    }
  }
  console.log(`${rounds - failures.length} of ${rounds} rounds of seed ${seed} lost nothing that was promised; the oldest stroke lost was ${oldest / 1000} s old`);
  // The connection was cut again and again.
  pageErrors.splice(0);
  expect(failures).toEqual([]);
});

interface Outcome {
  /** For people. */
  told: string;
  /** Cells that had to be there. */
  lost: number[];
  /** Of the oldest stroke that is not there, milliseconds. */
  age: number;
}

async function play(page: Page, platform: Platform, api: Api, user: string, death: Death, dice: Dice): Promise<Outcome> {
  const { id: session } = await api.post('/sessions', { screen: { width: 1280, height: 800, scale: 1 } });
  const scene: Scene = { platform, api, session, workspace: platform.workspace(user) };
  const timesOut = death.name === 'time-out';
  const stopExtending = timesOut ? () => {} : keepAlive(scene);
  let last = session;
  try {
    await running(api, session);
    const file = join(scene.workspace, 'ground.png');
    writeFileSync(file, groundPng(), { mode: 0o644 });
    await page.goto(`${platform.url}/session/${session}`);
    await new Gimp(page).painted();
    await api.post(`/sessions/${session}/open`, { path: 'ground.png' });
    const painter = await Painter.before(page);

    let struck = false;
    const painting = painter.paint(dice, 2.5 * copyPause).catch((error: unknown) => {
      // What it painted on may be gone.
      if (!struck) throw error;
    });
    const time = timesOut ? await timeLeft(api, session) : dice.between(1000, 2 * longestWithoutCopy);
    await pause(death.prepare ? time / 2 : time);
    if (death.prepare) {
      death.prepare(scene);
      await pause(dice.between(1000, 2 * longestWithoutCopy));
    }
    // A wanted end keeps what the person sees: what is under way is not seen yet.
    if (death.after !== 'sudden') {
      painter.stop();
      await painting;
    }
    const seen = await painter.seen();
    const at = Date.now();
    struck = true;
    await death.strike(scene);
    painter.stop();
    await painting;
    const strokes = painter.strokes.filter(({ ended }) => ended <= at);
    const promised = death.after === 'sudden' ? strokes.filter((_, i) => isPromised(strokes, i, at)).map(({ cell }) => cell) : [...seen];

    let found = new Set<number>();
    if (death.after === 'keeps') {
      found = await openCells(api, session);
    } else {
      if (death.after === 'wanted' || death.name.startsWith('sandbox')) {
        await until('the session has ended', async () => (await api.get(`/sessions/${session}`)).endedAt, 60);
        makeRoom(scene);
        last = (await api.post('/sessions', { screen: { width: 1280, height: 800, scale: 1 } })).id;
      }
      stopExtending();
      const stop = keepAlive({ ...scene, session: last });
      try {
        await running(api, last);
        found = await recoveredCells(api, last, new Set(promised));
      } finally {
        stop();
      }
    }
    const lost = promised.filter((cell) => !found.has(cell));
    const ages = strokes.filter(({ cell }) => !found.has(cell)).map(({ ended }) => at - ended);
    const age = Math.max(0, ...ages);
    const told = `${strokes.length} strokes, ${promised.length} promised, ${found.size} there${age > 0 ? `, oldest lost ${age} ms` : ''}${lost.length > 0 ? `; LOST ${lost.length}` : ''}`;
    return { told, lost, age };
  } finally {
    stopExtending();
    makeRoom(scene);
    await tidy(api, last);
  }
}

/** Whether a stroke must be in a copy at that time. */
function isPromised(strokes: Stroke[], index: number, at: number): boolean {
  if (at - strokes[index]!.ended >= longestWithoutCopy + copying) return true;
  const later = strokes.slice(index);
  return later.some(({ ended }, i) => (later[i + 1]?.began ?? at) - ended >= copyPause + copying);
}

async function running(api: Api, session: string): Promise<void> {
  await until(
    'GIMP runs',
    async () => {
      const { status, endReason, endDetail } = await api.get(`/sessions/${session}`);
      if (status === 'stopped' || status === 'error') throw new Error(`the session ended: ${endReason} ${endDetail}`);
      return status === 'running';
    },
    90,
  );
}

/** Milliseconds in which to paint before the time is over. */
async function timeLeft(api: Api, session: string): Promise<number> {
  const { expiresAt } = await api.get(`/sessions/${session}`);
  return Math.max(0, Date.parse(expiresAt) - Date.now() - 3000);
}

async function pictureOf(api: Api, url: string, session: string, document: string): Promise<Set<number>> {
  const answer = await fetch(`${url}/api/v1/sessions/${session}/documents/${document}/export`, {
    method: 'POST',
    headers: { authorization: `Bearer ${api.token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ format: 'png' }),
  });
  if (!answer.ok) throw new Error(`export: ${answer.status} ${await answer.text()}`);
  return paintedCells(PNG.sync.read(Buffer.from(await answer.arrayBuffer())));
}

/** What is painted in the image that is still open. */
async function openCells(api: Api, session: string): Promise<Set<number>> {
  const [document] = await until('the image is still open', async () => {
    const { documents } = await tolerant(() => api.get(`/sessions/${session}/documents`), { documents: null });
    return documents?.length === 1 && documents;
  }, 60);
  return pictureOf(api, api.url, session, document.id);
}

/** What is painted in the copy that has the most of what is wanted, opened in GIMP. */
async function recoveredCells(api: Api, session: string, wanted: Set<number>): Promise<Set<number>> {
  const offered = async () => (await api.get('/workspace/recoveries')).recoveries as { id: string }[];
  // Copies are offered once GIMP no longer has what they are of. There may be none.
  const recoveries = await until('copies are offered', async () => (await offered()).length > 0 && offered(), wanted.size > 0 ? 40 : 5).catch(() => []);
  let best = new Set<number>();
  const worth = (cells: Set<number>) => [...cells].filter((cell) => wanted.has(cell)).length * 1000 + cells.size;
  for (const { id } of recoveries) {
    await until('GIMP takes the copy', () => tolerant(async () => (await api.post(`/sessions/${session}/open`, { recoveryId: id }), true), false), 60);
    const document = await until('the copy is open', async () => {
      const { documents } = await api.get(`/sessions/${session}/documents`);
      return (documents as { id: string; recovery: string | null }[] | null)?.find(({ recovery }) => recovery === id);
    }, 30);
    const cells = await pictureOf(api, api.url, session, document.id);
    if (worth(cells) > worth(best)) best = cells;
  }
  return best;
}

/** GIMP, or the server, may not be back yet. */
async function tolerant<T>(ask: () => Promise<T>, otherwise: T): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    if (error instanceof Refused && [409, 503].includes(error.status)) return otherwise;
    throw error;
  }
}

/** Ends the session and forgets all copies. */
async function tidy(api: Api, session: string): Promise<void> {
  await until('the session has ended', async () => {
    await api.delete(`/sessions/${session}`).catch(() => {});
    return (await api.get(`/sessions/${session}`)).endedAt;
  }, 90);
  for (const { id } of (await api.get('/workspace/recoveries')).recoveries) await api.delete(`/workspace/recoveries/${id}`);
  await api.delete('/files/trash');
}
