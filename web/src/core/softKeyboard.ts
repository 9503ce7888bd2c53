// Typing on a phone or tablet: a hidden text field makes the on-screen keyboard appear, and what changes in the field is
// typed in the session. Such keyboards compose and correct words, so key events alone say too little.

import { keysym, keysymOf } from './keys';

export interface Typed {
  /** Characters to delete before the caret. */
  backspaces: number;
  text: string;
}

/** What to type so that a field holding `before` holds `after`, the caret being at the end. Counts code points. */
export function typedBetween(before: string, after: string): Typed {
  const from = [...before];
  const to = [...after];
  let same = 0;
  while (same < from.length && same < to.length && from[same] === to[same]) same++;
  return { backspaces: from.length - same, text: to.slice(same).join('') };
}

const NAMED: ReadonlyMap<string, number> = new Map([
  ['Enter', keysym.return],
  ['Tab', keysym.tab],
  ['Escape', keysym.escape],
  ['ArrowLeft', keysym.left],
  ['ArrowUp', keysym.up],
  ['ArrowRight', keysym.right],
  ['ArrowDown', keysym.down],
]);

// The field never runs empty, or a keyboard would not report backspace. Blanks that no correction touches.
const FILLER = '\u00a0'.repeat(64);
const LONGEST = 4096;

export class SoftKeyboard {
  readonly #field: HTMLTextAreaElement;
  readonly #abort = new AbortController();
  #text = FILLER;

  /** `field` should be there but not be seen; it must not be `display: none`, or it could not have the focus. */
  constructor(field: HTMLTextAreaElement, type: (keysym: number, code: string) => void, onShown: (shown: boolean) => void) {
    this.#field = field;
    field.autocapitalize = 'off';
    field.autocomplete = 'off';
    field.spellcheck = false;
    const signal = this.#abort.signal;
    this.#reset();
    field.addEventListener(
      'focus',
      () => {
        this.#reset();
        onShown(true);
      },
      { signal },
    );
    field.addEventListener('blur', () => onShown(false), { signal });
    // What a keyboard can say by keys alone: the rest arrives as input.
    field.addEventListener(
      'keydown',
      (event) => {
        const key = NAMED.get(event.key);
        if (key === undefined) return;
        event.preventDefault();
        type(key, event.code || event.key);
      },
      { signal },
    );
    field.addEventListener(
      'input',
      () => {
        const { backspaces, text } = typedBetween(this.#text, field.value);
        for (let i = 0; i < backspaces; i++) type(keysym.backSpace, 'Backspace');
        for (const character of text) type(keysymOf(character), 'Unidentified');
        this.#text = field.value;
        if (this.#text.length < FILLER.length / 2 || this.#text.length > LONGEST) this.#reset();
      },
      { signal },
    );
  }

  show(): void {
    this.#field.focus({ preventScroll: true });
  }

  hide(): void {
    this.#field.blur();
  }

  stop(): void {
    this.#abort.abort();
  }

  #reset(): void {
    this.#text = FILLER;
    this.#field.value = FILLER;
    this.#field.setSelectionRange(FILLER.length, FILLER.length);
  }
}
