// Parts of noVNC 1.7 that its package does not export; vite.config.ts leads to them.
declare module 'novnc-core/input/keyboard.js' {
  /** Keys as keysyms, with what is peculiar to each system: AltGr, macOS, Windows, virtual keyboards. */
  export default class Keyboard {
    constructor(target: HTMLElement);
    onkeyevent: (keysym: number, code: string, down: boolean) => void;
    grab(): void;
    ungrab(): void;
    /** Private; lets go of every key that is held. */
    _allKeysUp(): void;
    /** Private; on Windows Ctrl is held back for 100 ms, until it is known not to be a part of AltGr. It is sent now. */
    _interruptAltGrSequence(): void;
  }
}

declare module 'novnc-core/input/gesturehandler.js' {
  /** Touches as gestures: events `gesturestart`, `gesturemove`, `gestureend` on the target, with a `GestureDetail`. */
  export default class GestureHandler {
    attach(target: HTMLElement): void;
    detach(): void;
  }
}
