// What is known of GIMP's documents, in plain words.

import type { Document } from '../../api';
import { plural } from '../format';

export type Safety = 'saved' | 'unsaved' | 'failed';

/** How things stand with all documents together: the worst counts. */
export function safety(documents: readonly Document[]): Safety {
  const unsaved = documents.filter((document) => document.dirty);
  if (unsaved.some((document) => document.copyFailed)) return 'failed';
  return unsaved.length > 0 ? 'unsaved' : 'saved';
}

export function safetyWords(documents: readonly Document[]): string {
  const unsaved = documents.filter((document) => document.dirty).length;
  switch (safety(documents)) {
    case 'failed':
      return 'Unsaved changes could not be copied';
    case 'unsaved':
      return `Unsaved changes in ${plural(unsaved, 'image', 'images')}`;
    case 'saved':
      return 'All saved';
  }
}

/** What becomes of unsaved changes when the session ends; null: it is not known what GIMP has open. */
export function endWords(documents: readonly Document[] | null | undefined): string {
  if (!documents) return 'Of images you have not saved, GIMP keeps copies where it can: they are offered to you on the dashboard.';
  const unsaved = documents.filter((document) => document.dirty);
  if (unsaved.length === 0) return 'All images are saved.';
  const names = unsaved.slice(0, 3).map((document) => document.name);
  if (unsaved.length > names.length) names.push(`${unsaved.length - names.length} more`);
  return `Not saved: ${names.join(', ')}. If you end now, a copy of each is kept first and offered to you on the dashboard.`;
}

/** The state of one document; `ago` words a time. */
export function documentWords(document: Document, ago: (at: string) => string): string {
  if (!document.dirty) return 'Saved';
  if (document.copyFailed) return `Unsaved. ${document.copyFailed}`;
  return document.lastCopied ? `Unsaved; a copy was kept ${ago(document.lastCopied)}` : 'Unsaved; a copy is kept once you pause';
}

/** Size and layers: "1920 × 1080, 3 layers". */
export const measures = (document: Document): string =>
  `${document.width} × ${document.height}, ${plural(document.layers, 'layer', 'layers')}`;

/** Differs when the document's picture may. What is painted on is another a copy later. */
export const documentState = (document: Document): string =>
  [document.dirtySince ?? 'saved', document.lastCopied ?? '', document.file ?? '', document.width, document.height, document.layers].join('|');
