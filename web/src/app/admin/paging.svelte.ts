// A list that the server hands out in pages.

export class Pages<T> {
  items = $state.raw<readonly T[] | null>(null);
  error = $state<unknown>(null);
  busy = $state(false);
  next = $state<string | null>(null);
  #fetch: (cursor: string | null) => Promise<{ items: readonly T[]; nextCursor?: string | null | undefined }>;
  #asked = 0;

  constructor(fetch: (cursor: string | null) => Promise<{ items: readonly T[]; nextCursor?: string | null | undefined }>) {
    this.#fetch = fetch;
  }

  /** From the start; the old list stays until the new one is there. */
  reload = (): Promise<void> => this.#load(null);

  more = (): Promise<void> => this.#load(this.next);

  change(item: T, changed: T): void {
    this.items = (this.items ?? []).map((other) => (other === item ? changed : other));
  }

  async #load(cursor: string | null): Promise<void> {
    const mine = ++this.#asked;
    this.busy = true;
    this.error = null;
    try {
      const { items, nextCursor } = await this.#fetch(cursor);
      if (mine !== this.#asked) return;
      this.items = cursor ? [...(this.items ?? []), ...items] : items;
      this.next = nextCursor ?? null;
    } catch (error) {
      if (mine === this.#asked) this.error = error;
    } finally {
      if (mine === this.#asked) this.busy = false;
    }
  }
}
