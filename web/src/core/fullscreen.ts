// Full screen, and with it the Keyboard Lock API where there is one: Ctrl+W and friends then reach GIMP.

interface KeyboardLock {
  lock(codes?: string[]): Promise<void>;
  unlock(): void;
}

function keyboardLock(): KeyboardLock | null {
  return (navigator as Navigator & { keyboard?: KeyboardLock }).keyboard ?? null;
}

/** Whether full screen hands all keys to the page. */
export const canLockKeyboard = (): boolean => window.isSecureContext && typeof keyboardLock()?.lock === 'function';

export const canFullscreen = (): boolean => document.fullscreenEnabled;

/** Must be called from a click or key. */
export async function enterFullscreen(element: HTMLElement): Promise<void> {
  await element.requestFullscreen({ navigationUI: 'hide' });
  if (canLockKeyboard()) {
    // Refused in some embedded browsers; full screen is still worth having.
    await keyboardLock()?.lock().catch(() => undefined);
  }
}

export async function leaveFullscreen(): Promise<void> {
  keyboardLock()?.unlock?.();
  if (document.fullscreenElement) await document.exitFullscreen();
}
