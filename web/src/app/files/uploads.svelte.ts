// The uploads of this tab: two at a time, the rest wait.

import { api, ApiError, body, type Entry, refreshSignIn } from '../../api';
import { live } from '../state/live.svelte';
import { baseName, join, parent } from './paths';
import { anotherName, isSameFile, type Unfinished, Upload, type UploadCalls } from './upload';

const AT_ONCE = 2;
const KEY = 'gimp-platform.unfinished-uploads';
/** Remembered over a reload at most. */
const MOST_REMEMBERED = 50;

async function send(
  id: string,
  offset: number,
  chunk: Blob,
  onProgress: (sent: number) => void,
  signal: AbortSignal,
): Promise<{ offset: number; entry: Entry | null }> {
  const response = await patch(id, offset, chunk, onProgress, signal);
  if (response.status === 401 && (await refreshSignIn())) return answerOf(await patch(id, offset, chunk, onProgress, signal));
  return answerOf(response);
}

// fetch does not tell how much of a body has been sent.
function patch(id: string, offset: number, chunk: Blob, onProgress: (sent: number) => void, signal: AbortSignal): Promise<Response> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open('PATCH', `/api/v1/files/uploads/${encodeURIComponent(id)}`);
    request.setRequestHeader('Upload-Offset', String(offset));
    request.setRequestHeader('Content-Type', 'application/offset+octet-stream');
    request.upload.addEventListener('progress', (event) => onProgress(event.loaded));
    request.addEventListener('load', () => {
      const headers = new Headers();
      for (const name of ['upload-offset', 'content-type']) {
        const value = request.getResponseHeader(name);
        if (value !== null) headers.set(name, value);
      }
      const empty = request.status === 204 || request.responseText === '';
      resolve(new Response(empty ? null : request.responseText, { status: request.status, headers }));
    });
    request.addEventListener('error', () => reject(ApiError.network()));
    request.addEventListener('abort', () => reject(new DOMException('aborted', 'AbortError')));
    signal.addEventListener('abort', () => request.abort(), { once: true });
    request.send(chunk);
  });
}

async function answerOf(response: Response): Promise<{ offset: number; entry: Entry | null }> {
  if (!response.ok) throw await ApiError.from(response);
  const entry = response.status === 201 ? ((await response.json()) as Entry) : null;
  const offset = Number(response.headers.get('upload-offset') ?? Number.NaN);
  return { offset: Number.isFinite(offset) ? offset : entry ? entry.size : 0, entry };
}

const calls: UploadCalls = {
  create: async (path, size, overwrite) => body(api.POST('/api/v1/files/uploads', { body: { path, size, overwrite } })),
  async offset(id) {
    const url = `/api/v1/files/uploads/${encodeURIComponent(id)}`;
    let response = await head(url);
    if (response.status === 401 && (await refreshSignIn())) response = await head(url);
    if (response.status === 404 || response.status === 410) return null;
    if (!response.ok) throw new ApiError(response.status, { title: 'The server did not say how much of the file it has.' });
    return Number(response.headers.get('upload-offset'));
  },
  send,
  cancel: async (id) => {
    await api.DELETE('/api/v1/files/uploads/{id}', { params: { path: { id } } });
  },
  wait: (milliseconds, signal) =>
    new Promise((resolve, reject) => {
      const done = new AbortController();
      const finish = (settle: () => void) => {
        clearTimeout(timer);
        done.abort();
        settle();
      };
      const timer = setTimeout(() => finish(resolve), milliseconds);
      window.addEventListener('online', () => finish(resolve), { signal: done.signal });
      signal.addEventListener('abort', () => finish(() => reject(new DOMException('aborted', 'AbortError'))), { signal: done.signal });
    }),
};

async function head(url: string): Promise<Response> {
  try {
    return await fetch(url, { method: 'HEAD' });
  } catch {
    throw ApiError.network();
  }
}

class Uploads {
  list = $state.raw<readonly Upload[]>([]);
  /** Rises with every byte and state: what reads an upload reads this too. */
  changes = $state(0);
  /** Rises with every file that arrived. */
  arrivals = $state(0);
  unfinished = $state.raw<readonly Unfinished[]>(read());

  add(file: File, folder: string, name = file.name): void {
    const path = join(folder, name);
    const known = this.unfinished.find((other) => isSameFile(other, file) && (other.path === path || parent(other.path) === folder));
    const upload: Upload = new Upload(file, known?.path ?? path, calls, () => this.#changed(upload), known?.id ?? null);
    this.list = [...this.list, upload];
    this.#startNext();
  }

  /**
   * Uploads a file about which nobody is asked: under another name where there is one of its name. Gives its path; rejects
   * when it failed or was cancelled. `later` is called with the path of one that failed and was tried again with success.
   */
  bring(file: File, folder: string, later: (path: string) => void): Promise<string> {
    let failed = false;
    return new Promise((resolve, reject) => {
      const upload: Upload = new Upload(file, join(folder, file.name), calls, () => {
        this.#changed(upload);
        // Once it has returned from what it does.
        queueMicrotask(() => {
          const { state } = upload;
          if (state.kind === 'exists') this.keepBoth(upload);
          else if (state.kind === 'done') (failed ? later : resolve)(state.entry?.path ?? upload.path);
          else if (state.kind === 'failed') {
            failed = true;
            reject(state.error instanceof Error ? state.error : new Error('It failed.'));
          }
          else if (state.kind === 'cancelled') reject(new DOMException('cancelled', 'AbortError'));
        });
      });
      this.list = [...this.list, upload];
      this.#startNext();
    });
  }

  /** The file of an unfinished upload, chosen again. False when it is another file. */
  resume(unfinished: Unfinished, file: File): boolean {
    if (!isSameFile(unfinished, file)) return false;
    this.add(file, parent(unfinished.path), baseName(unfinished.path));
    return true;
  }

  forget(unfinished: Unfinished): void {
    this.#remember(this.unfinished.filter(({ id }) => id !== unfinished.id));
    void calls.cancel(unfinished.id).catch(() => undefined);
  }

  restart(upload: Upload): void {
    void upload.run().then(() => this.#startNext());
  }

  replace(upload: Upload): void {
    this.#decide(upload, { replace: true });
  }

  keepBoth(upload: Upload): void {
    this.#decide(upload, { path: join(parent(upload.path), anotherName(baseName(upload.path))) });
  }

  dismiss(upload: Upload): void {
    upload.cancel();
    this.list = this.list.filter((other) => other !== upload);
    this.#remember(this.unfinished.filter(({ id }) => id !== upload.id));
    this.#startNext();
  }

  #decide(upload: Upload, answer: Parameters<Upload['decide']>[0]): void {
    // The next attempt is another upload to the server.
    this.#remember(this.unfinished.filter(({ id }) => id !== upload.id));
    upload.decide(answer);
    this.restart(upload);
  }

  #startNext(): void {
    let free = AT_ONCE - this.list.filter(({ active }) => active).length;
    for (const upload of this.list) {
      if (free <= 0) break;
      if (upload.state.kind !== 'waiting') continue;
      free--;
      void upload.run().then(() => this.#startNext());
    }
  }

  #changed(upload: Upload): void {
    this.changes++;
    if (upload.state.kind === 'done') {
      this.#remember(this.unfinished.filter(({ id }) => id !== upload.id));
      this.list = this.list.filter((other) => other !== upload);
      this.arrivals++;
      void live.refreshQuota();
    } else if (upload.id && !upload.over && !this.unfinished.some(({ id }) => id === upload.id)) {
      const { name, size, lastModified } = upload.file;
      const others = this.unfinished.filter(({ path }) => path !== upload.path);
      this.#remember([...others, { id: upload.id, path: upload.path, name, size, lastModified }]);
    }
  }

  #remember(unfinished: readonly Unfinished[]): void {
    this.unfinished = unfinished.slice(-MOST_REMEMBERED);
    localStorage.setItem(KEY, JSON.stringify(this.unfinished));
  }
}

function read(): Unfinished[] {
  try {
    const value: unknown = JSON.parse(localStorage.getItem(KEY) ?? '[]');
    return Array.isArray(value) ? (value as Unfinished[]) : [];
  } catch {
    return [];
  }
}

export const uploads = new Uploads();

/**
 * The files of a drop with their folder below it; folders themselves in the order in which to create them. `flat`: folders
 * are not looked into.
 */
export async function dropped(transfer: DataTransfer, flat = false): Promise<{ folders: string[]; files: { file: File; folder: string }[] }> {
  const folders: string[] = [];
  const files: { file: File; folder: string }[] = [];
  // Both must be read before the first await: the list is empty afterwards.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  const plain = [...transfer.files];
  if (entries.length === 0) return { folders, files: plain.map((file) => ({ file, folder: '' })) };

  async function walk(entry: FileSystemEntry, folder: string): Promise<void> {
    if (entry.isFile) {
      const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
      files.push({ file, folder });
      return;
    }
    const here = join(folder, entry.name);
    folders.push(here);
    if (flat) return;
    const reader = (entry as FileSystemDirectoryEntry).createReader();
    for (;;) {
      const batch = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
      if (batch.length === 0) break;
      for (const child of batch) await walk(child, here);
    }
  }
  for (const entry of entries) await walk(entry, '');
  return { folders, files };
}
