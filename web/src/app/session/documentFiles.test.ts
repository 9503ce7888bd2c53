// @vitest-environment happy-dom
import openable from '../../../../crates/protocol/golden/openable.json';
import { describe, expect, it } from 'vitest';

import { opensInGimp } from '../files/paths';
import { nameIn, ownName, pastedFile } from './documentFiles';

describe('files of documents', () => {
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
