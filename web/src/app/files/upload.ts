// One upload in chunks that goes on after a pause, a lost network or a reload. Pure: the calls and the waiting are
// given.

import type { Entry } from '../../api';
import { ApiError } from '../../api/error';
import { backoff } from '../../core/backoff';

export interface UploadCalls {
  create(path: string, size: number, overwrite: boolean): Promise<{ id: string; chunkSize: number }>;
  /** Bytes the server has; null when it no longer knows the upload. */
  offset(id: string): Promise<number | null>;
  /** Sends one chunk. `entry` comes with the last one. */
  send(id: string, offset: number, chunk: Blob, onProgress: (sent: number) => void, signal: AbortSignal): Promise<{ offset: number; entry: Entry | null }>;
  cancel(id: string): Promise<void>;
  /** Resolves after the time, or at once when the network is back. Rejects when aborted. */
  wait(milliseconds: number, signal: AbortSignal): Promise<void>;
}

export type UploadState =
  | { kind: 'waiting' }
  | { kind: 'sending' }
  | { kind: 'paused' }
  /** Trying again by itself. */
  | { kind: 'retrying'; failures: number }
  /** There is a file of this name already. */
  | { kind: 'exists' }
  | { kind: 'failed'; error: unknown }
  | { kind: 'done'; entry: Entry | null }
  | { kind: 'cancelled' };

const LIMITS = { first: 500, longest: 15_000 };
/** Without a network this is about five minutes. */
const MOST_FAILURES = 24;
const CHUNK = 8 * 1024 * 1024;

/** Whether trying again can help. */
export function isPassing(error: unknown): boolean {
  if (!(error instanceof ApiError)) return false;
  // Another window sent a part of it: ask again how much is there.
  if (error.code === 'uploads.offset') return true;
  return error.status === 0 || error.status === 408 || error.status === 429 || (error.status >= 500 && error.status !== 507);
}

export class Upload {
  state: UploadState = { kind: 'waiting' };
  /** Bytes the server has or is being sent. */
  sent = 0;
  /** On the server; known once it was created. */
  id: string | null;
  path: string;
  readonly file: File;
  readonly #calls: UploadCalls;
  readonly #onChange: () => void;
  #abort = new AbortController();
  #overwrite = false;
  /** Resolves when the server has given back the room of an attempt under another name. */
  #dropped: Promise<void> = Promise.resolve();

  /** `resumeId`: an upload of the same file that the server knows already. */
  constructor(file: File, path: string, calls: UploadCalls, onChange: () => void, resumeId: string | null = null) {
    this.file = file;
    this.path = path;
    this.#calls = calls;
    this.#onChange = onChange;
    this.id = resumeId;
  }

  get active(): boolean {
    return this.state.kind === 'sending' || this.state.kind === 'retrying';
  }

  get over(): boolean {
    return this.state.kind === 'done' || this.state.kind === 'cancelled';
  }

  /** Sends until done, paused, cancelled or failed. Does not reject. */
  async run(): Promise<void> {
    if (this.active || this.over) return;
    const abort = new AbortController();
    this.#abort = abort;
    this.#set({ kind: 'sending' });
    let failures = 0;
    for (;;) {
      try {
        const entry = await this.#sendAll(abort.signal, () => {
          failures = 0;
          if (this.state.kind === 'retrying') this.#set({ kind: 'sending' });
        });
        this.#set({ kind: 'done', entry });
        return;
      } catch (error) {
        if (abort.signal.aborted) return;
        if (error instanceof ApiError && error.code === 'files.exists') {
          this.#set({ kind: 'exists' });
          return;
        }
        failures++;
        if (!isPassing(error) || failures > MOST_FAILURES) {
          this.#set({ kind: 'failed', error });
          return;
        }
        this.#set({ kind: 'retrying', failures });
      }
      try {
        await this.#calls.wait(backoff(failures, LIMITS), abort.signal);
      } catch {
        return;
      }
    }
  }

  pause(): void {
    if (!this.active && this.state.kind !== 'waiting') return;
    this.#abort.abort();
    this.#set({ kind: 'paused' });
  }

  /** The answer to `exists`: replace the file, or upload under another path. Run again afterwards. */
  decide(answer: { replace: true } | { path: string }): void {
    if (this.state.kind !== 'exists') return;
    if ('path' in answer) this.path = answer.path;
    else this.#overwrite = true;
    // An upload keeps the name it began with: another begins, and the room of this one is needed for it.
    if (this.id) this.#dropped = this.#calls.cancel(this.id).catch(() => undefined);
    this.id = null;
    this.sent = 0;
    this.#set({ kind: 'waiting' });
  }

  cancel(): void {
    if (this.over) return;
    this.#abort.abort();
    const id = this.id;
    this.#set({ kind: 'cancelled' });
    // The server forgets an upload nobody continues; telling it only frees the room earlier.
    if (id) void this.#calls.cancel(id).catch(() => undefined);
  }

  async #sendAll(signal: AbortSignal, onStep: () => void): Promise<Entry | null> {
    const { size } = this.file;
    let offset: number | null = null;
    let chunkSize = CHUNK;
    if (this.id) {
      offset = await this.#calls.offset(this.id);
      signal.throwIfAborted();
    }
    if (offset === null || !this.id) {
      await this.#dropped;
      signal.throwIfAborted();
      const made = await this.#calls.create(this.path, size, this.#overwrite);
      this.id = made.id;
      chunkSize = made.chunkSize;
      offset = 0;
      signal.throwIfAborted();
    }
    const id = this.id;
    this.#progress(offset);
    for (;;) {
      const from = offset;
      const answer = await this.#calls.send(id, from, this.file.slice(from, from + chunkSize), (sent) => this.#progress(from + sent), signal);
      signal.throwIfAborted();
      offset = answer.offset;
      onStep();
      this.#progress(offset);
      if (answer.entry || offset >= size) return answer.entry;
      if (offset <= from) throw new ApiError(0, { code: 'upload.stuck', title: 'The server did not take the data.' });
    }
  }

  #progress(sent: number): void {
    this.sent = Math.min(sent, this.file.size);
    this.#onChange();
  }

  #set(state: UploadState): void {
    this.state = state;
    this.#onChange();
  }
}

/** What is remembered of an upload over a reload. The file itself is not: the person chooses it again. */
export interface Unfinished {
  id: string;
  path: string;
  name: string;
  size: number;
  lastModified: number;
}

export const isSameFile = (unfinished: Unfinished, file: File): boolean =>
  unfinished.name === file.name && unfinished.size === file.size && unfinished.lastModified === file.lastModified;

/** "a.xcf" becomes "a (2).xcf", "a (2).xcf" becomes "a (3).xcf". */
export function anotherName(name: string): string {
  const dot = name.lastIndexOf('.');
  const stem = dot > 0 ? name.slice(0, dot) : name;
  const extension = dot > 0 ? name.slice(dot) : '';
  const numbered = /^(.*) \((\d{1,6})\)$/.exec(stem);
  return numbered ? `${numbered[1]} (${Number(numbered[2]) + 1})${extension}` : `${stem} (2)${extension}`;
}
