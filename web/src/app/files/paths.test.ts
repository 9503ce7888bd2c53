import { expect, test } from 'vitest';

import { baseName, crumbs, join, nameProblem, opensInGimp, parent } from './paths';

test('paths are put together and taken apart', () => {
  expect(join('', 'a.png')).toBe('a.png');
  expect(join('Art/2026', 'a.png')).toBe('Art/2026/a.png');
  expect(parent('Art/2026/a.png')).toBe('Art/2026');
  expect(parent('a.png')).toBe('');
  expect(baseName('Art/a.png')).toBe('a.png');
  expect(crumbs('Art/2026').map(({ path }) => path)).toEqual(['', 'Art', 'Art/2026']);
});

test('names that cannot be used are refused with a reason', () => {
  for (const name of ['', '  ', '.', '..', 'a/b', 'two\nlines', 'ä'.repeat(200)]) expect(nameProblem(name)).not.toBeNull();
  for (const name of ['a.png', '…', '-rf', 'Ünïcödé 🎨.xcf']) expect(nameProblem(name)).toBeNull();
});

test('tells images from other files', () => {
  const file = (name: string, mediaType: string | null = null) => ({ name, kind: 'file', mediaType });
  expect(opensInGimp(file('portrait.xcf'))).toBe(true);
  expect(opensInGimp(file('PORTRAIT.XCF.GZ'))).toBe(true);
  expect(opensInGimp(file('scan', 'image/tiff'))).toBe(true);
  expect(opensInGimp(file('notes.txt'))).toBe(false);
  expect(opensInGimp({ name: 'folder.png', kind: 'folder' })).toBe(false);
});
