// GIMP's documents on their way to files, and files on their way into GIMP.

import { api, ApiError, authorisedFetch, body, type Document, type ExportFormat, urls } from '../../api';
import { baseName, join, opensInGimp, parent } from '../files/paths';
import { anotherName } from '../files/upload';
import { uploads } from '../files/uploads.svelte';
import { toasts } from '../state/toasts.svelte';

export interface ExportWish {
  format: ExportFormat;
  /** Of JPEG and WebP, percent. */
  quality?: number;
  /** Percent of the document's size. */
  scale?: number;
}

export const formatNames: Readonly<Record<ExportFormat, string>> = {
  png: 'PNG',
  jpeg: 'JPEG',
  webp: 'WebP',
  tiff: 'TIFF',
  xcf: 'XCF, with all layers',
};

/** Whether the format takes a quality. */
export const hasQuality = (format: ExportFormat): boolean => format === 'jpeg' || format === 'webp';

/** The document as a file of that format, and what the server calls it. */
export async function exportDocument(
  sessionId: string,
  documentId: string,
  wish: ExportWish,
  signal?: AbortSignal,
): Promise<{ blob: Blob; name: string }> {
  const response = await authorisedFetch(
    new Request(new URL(urls.export(sessionId, documentId), location.origin), {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(wish),
      ...(signal ? { signal } : {}),
    }),
  );
  if (!response.ok) throw await ApiError.from(response);
  const name = nameIn(response.headers.get('content-disposition')) ?? `Untitled.${wish.format}`;
  try {
    return { blob: await response.blob(), name };
  } catch (error) {
    if (isAbort(error)) throw error;
    throw ApiError.network();
  }
}

/** RFC 8187: the name for those who know Unicode. */
export function nameIn(disposition: string | null): string | null {
  const encoded = /filename\*=UTF-8''([^;]+)/i.exec(disposition ?? '')?.[1];
  if (!encoded) return null;
  try {
    return decodeURIComponent(encoded);
  } catch {
    return null;
  }
}

/** Hands a file to the browser's downloads. */
export function download(blob: Blob, name: string): void {
  const address = URL.createObjectURL(blob);
  const link = document.createElement('a');
  link.href = address;
  link.download = name;
  link.click();
  // The browser takes the file when it has got round to the click.
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** Names tried before giving up. */
const MOST_NAMES = 50;

/** Where a document is saved that has no file of its own: beside what it was imported from. */
export function ownName(document: Pick<Document, 'name' | 'file'>): string {
  const name = (document.file ? baseName(document.file) : document.name).replaceAll('/', '_');
  const dot = name.lastIndexOf('.');
  const stem = (dot > 0 ? name.slice(0, dot) : name).trim() || 'Untitled';
  return join(document.file ? parent(document.file) : '', `${stem}.xcf`);
}

/** Saves a document as XCF: to its own file or, where it has none, to a new one. Gives its path. */
export async function saveDocument(sessionId: string, document: Document): Promise<string> {
  const path = { id: sessionId, document: document.id };
  const save = async (request: { path?: string }) =>
    (await body(api.POST('/api/v1/sessions/{id}/documents/{document}/save', { params: { path }, body: { replace: false, ...request } }))).path;
  try {
    return await save({});
  } catch (error) {
    if (!(error instanceof ApiError && error.code === 'document.noFile')) throw error;
  }
  let name = ownName(document);
  for (let tries = 1; ; tries++) {
    try {
      return await save({ path: name });
    } catch (error) {
      if (!(error instanceof ApiError) || tries >= MOST_NAMES) throw error;
      if (error.code === 'files.exists') name = join(parent(name), anotherName(baseName(name)));
      // The folder it came from is gone.
      else if (error.code === 'files.noFolder' && parent(name) !== '') name = baseName(name);
      else throw error;
    }
  }
}

export const isAbort = (error: unknown): boolean => error instanceof DOMException && error.name === 'AbortError';

/** Times that it is looked whether more has been painted meanwhile. */
const MOST_ROUNDS = 3;

/**
 * Saves every document with unsaved changes, and those that come meanwhile. Stops before the next one once aborted: what is
 * being saved is saved to its end. Rejects when not all could be saved, or nobody knows.
 */
export async function saveAll(sessionId: string, signal: AbortSignal): Promise<void> {
  for (let round = 1; ; round++) {
    const { documents } = await body(api.GET('/api/v1/sessions/{id}/documents', { params: { path: { id: sessionId } }, signal }));
    if (!documents) throw new Error('GIMP does not say which images it has open. Save them in GIMP, or try again in a moment.');
    const unsaved = documents.filter(({ dirty }) => dirty);
    if (unsaved.length === 0) return;
    if (round > MOST_ROUNDS) throw new Error('Images change while they are saved. The session goes on.');
    for (const document of unsaved) {
      signal.throwIfAborted();
      await saveDocument(sessionId, document);
    }
    signal.throwIfAborted();
  }
}

/** Files dropped onto the picture at most: each becomes an image. */
const MOST_DROPPED = 10;

/** Why what was dropped onto the picture is not opened; null: it is. */
export function notOpened({ folders, files }: { folders: readonly unknown[]; files: readonly unknown[] }): string | null {
  if (folders.length > 0) return 'Folders are not opened in GIMP. To bring one into the workspace, drop it onto the file panel.';
  if (files.length > MOST_DROPPED) return `${files.length} files are too many to open at once. To bring them into the workspace, drop them onto the file panel.`;
  return null;
}

export type OpenAs = 'image' | 'layer';

const CAN_OPEN = 'GIMP opens XCF, PNG, JPEG, WebP, TIFF, GIF, BMP, PSD, SVG, PDF, HEIF, AVIF, JPEG XL, OpenRaster and many more.';

/** Uploads files into the workspace and opens each in the session as soon as it is there, in their order. */
export async function openFiles(sessionId: string, files: readonly File[], as: OpenAs): Promise<void> {
  const fit = files.filter((file) => opensInGimp({ name: file.name, kind: 'file', mediaType: null }));
  const others = files.filter((file) => !fit.includes(file)).map(({ name }) => name);
  if (others.length > 0) {
    const which = others.length > 3 ? `${others.slice(0, 3).join(', ')} and ${others.length - 3} more` : others.join(', ');
    toasts.show(`GIMP does not open files like ${which}. ${CAN_OPEN}`, { kind: 'warn', key: `${sessionId}/unsupported` });
  }
  let before: Promise<void> = Promise.resolve();
  const open = async (file: File, path: string | Promise<string>) => {
    try {
      await api.POST('/api/v1/sessions/{id}/documents', { params: { path: { id: sessionId } }, body: { path: await path, as } });
      toasts.show(as === 'layer' ? `${file.name} is a new layer.` : `${file.name} is opening.`, { key: `${sessionId}/opening` });
    } catch (error) {
      if (isAbort(error)) return;
      toasts.show(`${file.name}: ${error instanceof Error ? error.message : 'It failed.'}`, { kind: 'danger' });
    }
  };
  for (const file of fit) {
    const path = uploads.bring(file, '', (late) => void open(file, late));
    // Told of when its turn comes.
    path.catch(() => undefined);
    before = before.then(() => open(file, path));
  }
  await before;
}

const ENDINGS: Readonly<Record<string, string>> = { 'image/jpeg': 'jpg', 'image/gif': 'gif', 'image/webp': 'webp', 'image/bmp': 'bmp', 'image/svg+xml': 'svg' };

/** A picture from a clipboard, under a name that says when it came: "Pasted 2026-01-31 09.05.07.png". */
export function pastedFile(image: File, now: Date): File {
  const two = (value: number) => `${value}`.padStart(2, '0');
  const date = [now.getFullYear(), two(now.getMonth() + 1), two(now.getDate())].join('-');
  const time = [now.getHours(), now.getMinutes(), now.getSeconds()].map(two).join('.');
  return new File([image], `Pasted ${date} ${time}.${ENDINGS[image.type] ?? 'png'}`, { type: image.type });
}
