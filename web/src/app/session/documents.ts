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

/** The state of one document; `ago` words a time. */
export function documentWords(document: Document, ago: (at: string) => string): string {
  if (!document.dirty) return 'Saved';
  if (document.copyFailed) return `Unsaved. ${document.copyFailed}`;
  return document.lastCopied ? `Unsaved; a copy was kept ${ago(document.lastCopied)}` : 'Unsaved; a copy is kept once you pause';
}

/** Size and layers: "1920 × 1080, 3 layers". */
export const measures = (document: Document): string =>
  `${document.width} × ${document.height}, ${plural(document.layers, 'layer', 'layers')}`;
