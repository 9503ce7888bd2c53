// `KeyboardEvent.code` to X keycodes: evdev's codes (linux/input-event-codes.h) and 8.

// From evdev's code 1 on, a dash where no key of a browser is.
const FROM_1 = `
  Escape Digit1 Digit2 Digit3 Digit4 Digit5 Digit6 Digit7 Digit8 Digit9 Digit0 Minus Equal Backspace Tab
  KeyQ KeyW KeyE KeyR KeyT KeyY KeyU KeyI KeyO KeyP BracketLeft BracketRight Enter ControlLeft
  KeyA KeyS KeyD KeyF KeyG KeyH KeyJ KeyK KeyL Semicolon Quote Backquote ShiftLeft Backslash
  KeyZ KeyX KeyC KeyV KeyB KeyN KeyM Comma Period Slash ShiftRight NumpadMultiply AltLeft Space CapsLock
  F1 F2 F3 F4 F5 F6 F7 F8 F9 F10 NumLock ScrollLock
  Numpad7 Numpad8 Numpad9 NumpadSubtract Numpad4 Numpad5 Numpad6 NumpadAdd Numpad1 Numpad2 Numpad3 Numpad0 NumpadDecimal
  - Lang5 IntlBackslash F11 F12 IntlRo Lang3 Lang4 Convert KanaMode NonConvert - NumpadEnter ControlRight NumpadDivide
  PrintScreen AltRight - Home ArrowUp PageUp ArrowLeft ArrowRight End ArrowDown PageDown Insert Delete -
  AudioVolumeMute AudioVolumeDown AudioVolumeUp Power NumpadEqual - Pause - NumpadComma Lang1 Lang2 IntlYen
  MetaLeft MetaRight ContextMenu`;
const FROM_183 = 'F13 F14 F15 F16 F17 F18 F19 F20 F21 F22 F23 F24';

const KEYCODES = new Map<string, number>([...numbered(FROM_1, 1), ...numbered(FROM_183, 183)]);

function numbered(codes: string, first: number): [string, number][] {
  return codes
    .trim()
    .split(/\s+/)
    .map((code, i): [string, number] => [code, first + i + 8])
    .filter(([code]) => code !== '-');
}

/** 0 for a key that X does not know. */
export function keycodeOf(code: string): number {
  return KEYCODES.get(code) ?? 0;
}
