// Short messages at the edge of the page, read aloud by screen readers.

export interface ToastAction {
  label: string;
  run: () => void | Promise<void>;
}

export interface Toast {
  id: number;
  kind: 'info' | 'ok' | 'warn' | 'danger';
  text: string;
  action: ToastAction | null;
  /** Toasts with the same key replace each other. */
  key: string | null;
}

const SHORT = 6_000;
const LONG = 12_000;
const MOST = 4;

class Toasts {
  list = $state.raw<readonly Toast[]>([]);
  #next = 1;
  #timers = new Map<number, ReturnType<typeof setTimeout>>();

  /** `stay`: until dismissed. A toast with an action stays longer than one without. */
  show(
    text: string,
    { kind = 'info', action = null, key = null, stay = false }: Partial<Omit<Toast, 'id' | 'text'>> & { stay?: boolean } = {},
  ): number {
    if (key) this.dismissKey(key);
    const id = this.#next++;
    this.list = [...this.list, { id, kind, text, action, key }].slice(-MOST);
    if (!stay) this.#timers.set(id, setTimeout(() => this.dismiss(id), action ? LONG : SHORT));
    return id;
  }

  failed(error: unknown): void {
    this.show(error instanceof Error ? error.message : String(error), { kind: 'danger' });
  }

  dismiss(id: number): void {
    clearTimeout(this.#timers.get(id));
    this.#timers.delete(id);
    this.list = this.list.filter((toast) => toast.id !== id);
  }

  dismissKey(key: string): void {
    for (const toast of this.list) if (toast.key === key) this.dismiss(toast.id);
  }

  /** While the pointer or the focus is on the toasts, none goes away. */
  hold(): void {
    for (const timer of this.#timers.values()) clearTimeout(timer);
  }

  release(): void {
    for (const id of this.#timers.keys()) this.#timers.set(id, setTimeout(() => this.dismiss(id), SHORT));
  }
}

export const toasts = new Toasts();
