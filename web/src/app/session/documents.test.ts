import { describe, expect, it } from 'vitest';

import type { Document } from '../../api';
import { documentWords, endWords, measures, safety, safetyWords } from './documents';

const document = (change: Partial<Document> = {}): Document => ({
  id: '77-1',
  name: 'poster.xcf',
  file: 'poster.xcf',
  width: 1920,
  height: 1080,
  layers: 1,
  dirty: false,
  dirtySince: null,
  lastCopied: null,
  recovery: null,
  copyFailed: null,
  ...change,
});
const ago = (at: string) => `at ${at}`;

describe('documents', () => {
  it('are as safe as the least safe of them', () => {
    const [saved, unsaved, failed] = [document(), document({ dirty: true }), document({ dirty: true, copyFailed: 'There is no room left.' })];
    expect(safety([])).toBe('saved');
    expect(safety([saved, unsaved])).toBe('unsaved');
    expect(safety([failed, unsaved, saved])).toBe('failed');
    expect(safetyWords([saved])).toBe('All saved');
    expect(safetyWords([saved, unsaved])).toBe('Unsaved changes in 1 image');
    expect(safetyWords([failed])).toBe('Unsaved changes could not be copied');
  });

  it('that were saved after a failure are safe', () => {
    expect(safety([document({ copyFailed: 'There is no room left.' })])).toBe('saved');
  });

  it('say what an end does to them', () => {
    expect(endWords(null)).toContain('where it can');
    expect(endWords([document()])).toBe('All images are saved.');
    const unsaved = ['a', 'b', 'c', 'd', 'e'].map((name) => document({ name, dirty: true }));
    expect(endWords([document(), unsaved[0]!])).toBe('Not saved: a. If you end now, a copy of each is kept first and offered to you on the dashboard.');
    expect(endWords(unsaved)).toContain('Not saved: a, b, c, 2 more.');
  });

  it('say what is kept of them', () => {
    expect(documentWords(document(), ago)).toBe('Saved');
    expect(documentWords(document({ dirty: true }), ago)).toBe('Unsaved; a copy is kept once you pause');
    expect(documentWords(document({ dirty: true, lastCopied: 'noon' }), ago)).toBe('Unsaved; a copy was kept at noon');
    expect(documentWords(document({ dirty: true, copyFailed: 'There is no room left.' }), ago)).toBe('Unsaved. There is no room left.');
    expect(measures(document({ layers: 3 }))).toBe('1920 × 1080, 3 layers');
  });
});
