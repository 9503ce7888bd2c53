// @vitest-environment happy-dom
import openable from '../../../../crates/protocol/golden/openable.json';
import { afterEach, describe, expect, it, vi } from 'vitest';

import { opensInGimp } from '../files/paths';
import { isAbort, nameIn, notOpened, ownName, pastedFile, saveAll } from './documentFiles';

afterEach(() => vi.unstubAllGlobals());

/** A server whose documents are told one list after the other, the last for ever. Gives what was asked of it. */
function server(lists: (readonly string[] | null)[], onSave: (document: string) => void = () => undefined): string[] {
  const asked: string[] = [];
  vi.stubGlobal('fetch', async (input: Request) => {
    input.signal.throwIfAborted();
    const [, document, what] = /documents(?:\/([^/]+)\/(\w+))?$/.exec(input.url) ?? [];
    asked.push(document ? `${what} ${document}` : 'list');
    if (document) {
      onSave(document);
      return Response.json({ path: `${document}.xcf`, size: 1 });
    }
    const list = lists.length > 1 ? lists.shift() : lists[0];
    return Response.json({ documents: list?.map((id) => ({ id, name: id, file: `${id}.xcf`, dirty: true })) ?? null });
  });
  return asked;
}

describe('saving all', () => {
  it('saves what has changed meanwhile as well', async () => {
    const asked = server([['a', 'b'], ['b'], []]);
    await saveAll('s', new AbortController().signal);
    expect(asked).toEqual(['list', 'save a', 'save b', 'list', 'save b', 'list']);
  });

  it('gives up where images never come to rest, or are not known', async () => {
    const asked = server([['a']]);
    await expect(saveAll('s', new AbortController().signal)).rejects.toThrow('change while they are saved');
    expect(asked.filter((what) => what === 'save a')).toHaveLength(3);
    server([null]);
    await expect(saveAll('s', new AbortController().signal)).rejects.toThrow('does not say which images');
  });

  it('saves nothing more, and never succeeds, once it is not wanted', async () => {
    for (const last of ['a', 'b']) {
      const left = new AbortController();
      const asked = server([['a', 'b'], []], (document) => document === last && left.abort());
      await expect(saveAll('s', left.signal).catch(isAbort)).resolves.toBe(true);
      expect(asked.at(-1)).toBe(`save ${last}`);
    }
  });
});

describe('files of documents', () => {
  it('are not opened by whole folders, or by the dozen', () => {
    const files = (count: number) => Array.from({ length: count }, () => null);
    expect(notOpened({ folders: [], files: files(10) })).toBeNull();
    expect(notOpened({ folders: [], files: files(11) })).toMatch('11 files are too many');
    expect(notOpened({ folders: ['holidays'], files: [] })).toMatch('file panel');
  });

  it('are opened here as the server opens them', () => {
    for (const ending of openable) expect(opensInGimp({ name: `a.${ending.toUpperCase()}`, kind: 'file' }), ending).toBe(true);
    for (const name of ['notes.txt', 'a.zip', 'png', 'xcf.gz.zip']) expect(opensInGimp({ name, kind: 'file' }), name).toBe(false);
  });

  it('that are new lie beside what was imported', () => {
    expect(ownName({ name: 'photo', file: 'art/photo.png' })).toBe('art/photo.xcf');
    expect(ownName({ name: 'Untitled', file: null })).toBe('Untitled.xcf');
    expect(ownName({ name: 'a/b', file: null })).toBe('a_b.xcf');
    expect(ownName({ name: '', file: null })).toBe('Untitled.xcf');
    expect(ownName({ name: 'v1.2', file: null })).toBe('v1.xcf');
  });

  it('are called as the server calls them', () => {
    expect(nameIn(`attachment; filename="K_se.jpg"; filename*=UTF-8''K%C3%A4se.jpg`)).toBe('Käse.jpg');
    expect(nameIn(`attachment; filename*=UTF-8''%E0`)).toBeNull();
    expect(nameIn(null)).toBeNull();
  });

  it('that were pasted say when', () => {
    const at = new Date(2026, 0, 31, 9, 5, 7);
    expect(pastedFile(new File([], 'image.png', { type: 'image/png' }), at).name).toBe('Pasted 2026-01-31 09.05.07.png');
    expect(pastedFile(new File([], 'x', { type: 'image/jpeg' }), at).name).toMatch(/\.jpg$/);
  });
});
