// How the picture travels, in words.

import type { TransportPin } from '../../core/chooser';
import type { Choice, PassedOver, ProofResult, TransportKind } from '../../core/transport';

export const transportNames: Record<TransportKind, string> = {
  webrtc: 'Picture stream, WebRTC',
  websocket: 'Picture stream, WebSocket',
  vnc: 'VNC',
};

const noStream: Record<PassedOver, string> = {
  unsupported: 'this browser cannot show the picture stream',
  unusable: 'the picture stream is of another version',
  late: 'the picture stream sent no picture in time',
  refused: 'the picture stream could not be reached',
};
const noWebrtc: Record<PassedOver, string> = {
  unsupported: 'this browser has no WebRTC',
  unusable: 'WebRTC is of another version',
  late: 'WebRTC did not connect in time',
  refused: 'WebRTC could not connect',
};

/** Why this one; begins small and ends without a full stop. */
export function choiceWhy({ kind, pinned, passedOver }: Choice): string {
  if (pinned) return 'chosen by you';
  const [best] = passedOver;
  if (!best) return 'the best there is';
  return kind === 'vnc' ? noStream[best.why] : noWebrtc[best.why];
}

/** Attempts in a row after which a transport that was chosen may be the reason. */
const MOST_FAILURES = 2;

/** While the picture does not come back: what was chosen, when another transport may do better. */
export function pinWords(pin: TransportPin, failures: number): string | null {
  return pin === 'auto' || failures <= MOST_FAILURES ? null : `You chose “${transportNames[pin]}”; another way may work.`;
}

export const proofWords: Record<ProofResult, string> = {
  same: 'Every pixel is GIMP’s',
  different: 'Not the same picture',
  moving: 'It was changing. Try again',
  unable: 'Cannot be compared here',
};
