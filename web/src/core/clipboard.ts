// Text clipboard both ways, without ever replacing an image copied in GIMP by stale text of this computer.

export interface ClipboardOptions {
  /** Where the session is shown. */
  element: HTMLElement;
  /** Offers text to the session. */
  send(text: string): void;
  /** Types Ctrl+V's V: the browser kept the key for itself to make the paste event. Ctrl is held, and Shift if so. */
  typePaste(shift: boolean): void;
  /** Types all of it: Command is held, as a Mac's people paste. */
  typeWholePaste(shift: boolean): void;
  /** Text copied in the session. `written`: it is in this computer's clipboard already. */
  onRemoteText(text: string, written: boolean): void;
  /** What the person pastes is longer than what is passed on. */
  onTooLong(): void;
  /** The person pastes, and there is a picture from elsewhere. Perhaps GIMP's own is meant, which is pasted all the same. */
  onImage(image: File): void;
}

/** Longest text that is passed on, bytes of UTF-8. */
export const LONGEST_TEXT = 1024 * 1024;

export function isTooLong(text: string): boolean {
  // No text has fewer bytes than UTF-16 units.
  return text.length > LONGEST_TEXT || new TextEncoder().encode(text).length > LONGEST_TEXT;
}

/**
 * Decides which of the two clipboards is newer. This computer's can only have changed while the window was not in focus,
 * or by a copy in the page; the session's changes with a copy in the session.
 */
export class ClipboardOrder {
  #last: string | null = null;
  #localMayBeNewer = true;
  /** Apart, because text is taken at once, a picture when it is pasted. */
  #imageMayBeNewer = true;
  /** Size and type of the picture that was taken last. */
  #lastImage: string | null = null;

  localMayHaveChanged(): void {
    this.#localMayBeNewer = true;
    this.#imageMayBeNewer = true;
  }

  copiedInSession(): void {
    this.#localMayBeNewer = false;
    this.#imageMayBeNewer = false;
  }

  remoteText(text: string): void {
    this.#last = text;
    this.copiedInSession();
  }

  /** Whether a picture of this computer may be what is to be pasted. */
  get imageMayWait(): boolean {
    return this.#imageMayBeNewer;
  }

  /** Whether this picture may be what is to be pasted: once, and not after a copy in the session that is known of. */
  takeImage({ size, type }: { size: number; type: string }): boolean {
    const image = `${size} ${type}`;
    const take = this.#imageMayBeNewer && image !== this.#lastImage;
    this.#imageMayBeNewer = false;
    if (take) this.#lastImage = image;
    return take;
  }

  /** Whether this computer's text should be given to the session. */
  takeLocal(text: string): boolean {
    const send = this.#localMayBeNewer && text !== '' && text !== this.#last && !isTooLong(text);
    this.#localMayBeNewer = false;
    if (send) this.#last = text;
    return send;
  }
}

// As noVNC tells it apart, which maps the keys.
function isMac(): boolean {
  return /mac/i.test(navigator.platform);
}

export class Clipboard {
  readonly #options: ClipboardOptions;
  readonly #order = new ClipboardOrder();
  readonly #abort = new AbortController();
  #readable = false;
  /** What was read last is too long to be passed on. */
  #tooLong = false;
  /** There was no text when it was read last: perhaps a picture. */
  #noText = false;
  /** The V pressed on the picture that makes the next paste event. */
  #awaited: { shift: boolean; command: boolean } | null = null;
  #enabled = false;

  constructor(options: ClipboardOptions) {
    this.#options = options;
    const { element } = options;
    const signal = this.#abort.signal;
    window.addEventListener('blur', (event) => event.isTrusted && this.#order.localMayHaveChanged(), { signal });
    // Copied in this page, beside the picture.
    for (const type of ['copy', 'cut']) document.addEventListener(type, () => this.#order.localMayHaveChanged(), { signal });
    window.addEventListener('focus', () => void this.#readLocal(), { signal });
    // Before noVNC's listener on the canvas, which would swallow the event and with it the paste.
    element.addEventListener('keydown', (event) => this.#keydown(event), { signal, capture: true });
    document.addEventListener('paste', (event) => this.#paste(event), { signal });
    // On Linux the middle button makes a paste event as well, which GIMP has another use for.
    document.addEventListener('pointerdown', () => (this.#awaited = null), { signal, capture: true });
    void this.#watchPermission();
  }

  /** Text only travels while a session is connected. */
  set enabled(enabled: boolean) {
    this.#enabled = enabled;
    if (enabled) void this.#readLocal();
  }

  async remoteText(text: string): Promise<void> {
    if (isTooLong(text)) return;
    this.#tooLong = false;
    this.#order.remoteText(text);
    let written = false;
    try {
      if (document.hasFocus() && navigator.clipboard) {
        await navigator.clipboard.writeText(text);
        written = true;
      }
    } catch {
      // Not permitted: the page offers the text with a button.
    }
    this.#options.onRemoteText(text, written);
  }

  stop(): void {
    this.#abort.abort();
  }

  // Reading without a permission already given would open a prompt on every focus.
  async #watchPermission(): Promise<void> {
    try {
      const status = await navigator.permissions.query({ name: 'clipboard-read' as PermissionName });
      const update = () => {
        this.#readable = status.state === 'granted';
        if (this.#readable) void this.#readLocal();
      };
      status.addEventListener('change', update, { signal: this.#abort.signal });
      update();
    } catch {
      this.#readable = false;
    }
  }

  async #readLocal(): Promise<void> {
    if (!this.#enabled || !this.#readable || !document.hasFocus()) return;
    try {
      const text = await navigator.clipboard.readText();
      this.#tooLong = isTooLong(text);
      this.#noText = text === '';
      if (this.#order.takeLocal(text)) this.#options.send(text);
    } catch {
      // Focus was lost meanwhile, or the clipboard holds no text.
      this.#noText = true;
    }
  }

  #keydown(event: KeyboardEvent): void {
    if (!this.#enabled || !(event.ctrlKey || event.metaKey) || event.altKey) return;
    const key = event.key.toLowerCase();
    if (key === 'c' || key === 'x') this.#order.copiedInSession();
    if (key !== 'v') return;
    if (this.#readable && this.#tooLong && !event.repeat) this.#options.onTooLong();
    // On a Mac Command+V makes a paste event, and Ctrl+V none; Command is no key that GIMP has.
    const mac = isMac();
    // Pictures come by that event alone.
    const awaits = mac ? event.metaKey : !this.#readable || (this.#noText && this.#order.imageMayWait);
    if (!awaits || (event.repeat && !mac)) return;
    event.stopPropagation();
    if (event.repeat) event.preventDefault();
    else this.#awaited = { shift: event.shiftKey, command: mac };
  }

  // Its target says little: Firefox sends it to where text is selected, not to where the focus is.
  #paste(event: ClipboardEvent): void {
    const awaited = this.#awaited;
    this.#awaited = null;
    if (!this.#enabled || !awaited) return;
    event.preventDefault();
    const text = event.clipboardData?.getData('text/plain') ?? '';
    const image = [...(event.clipboardData?.files ?? [])].find(({ type }) => type.startsWith('image/'));
    // A copy by GIMP's menu is not known of: nobody but the person can say which is meant.
    if (image && text === '' && this.#order.takeImage(image)) this.#options.onImage(image);
    if (this.#order.takeLocal(text)) this.#options.send(text);
    else if (isTooLong(text)) this.#options.onTooLong();
    if (awaited.command) this.#options.typeWholePaste(awaited.shift);
    else this.#options.typePaste(awaited.shift);
  }
}
