// The part of noVNC 1.7's API that is used here; the package ships no types.
declare module '@novnc/novnc' {
  interface RfbEvents {
    connect: CustomEvent<object>;
    disconnect: CustomEvent<{ clean: boolean }>;
    clipboard: CustomEvent<{ text: string }>;
    securityfailure: CustomEvent<{ status: number; reason?: string }>;
    desktopname: CustomEvent<{ name: string }>;
  }

  export default class RFB {
    /** Private; what a client says. */
    static readonly messages: { fbUpdateRequest(sock: object, incremental: boolean, x: number, y: number, width: number, height: number): void };
    constructor(
      target: HTMLElement,
      urlOrChannel: string | WebSocket,
      options?: { shared?: boolean; wsProtocols?: string[] },
    );
    viewOnly: boolean;
    focusOnClick: boolean;
    scaleViewport: boolean;
    resizeSession: boolean;
    showDotCursor: boolean;
    background: string;
    qualityLevel: number;
    compressionLevel: number;
    disconnect(): void;
    sendKey(keysym: number, code: string | null, down?: boolean): void;
    focus(options?: FocusOptions): void;
    blur(): void;
    clipboardPasteFrom(text: string): void;
    /** Private; see `VncTransport`. */
    _handleKeyEvent: (keysym: number, code: string, down: boolean) => void;
    /** Private; see `SessionInput`. */
    readonly _keyboard: { _interruptAltGrSequence(): void };
    /** Private; asks for a part of the picture. */
    readonly _sock: object;
    /** Private; see `VncTransport`. */
    readonly _cursor: { readonly _hotSpot: { readonly x: number; readonly y: number }; move: (x: number, y: number) => void };
    addEventListener<K extends keyof RfbEvents>(type: K, listener: (event: RfbEvents[K]) => void): void;
  }
}
