// How the picture travels, in words.

import type { Choice, PassedOver, ProofResult, TransportKind } from '../../core/transport';

export const transportNames: Record<TransportKind, string> = { websocket: 'Picture stream', vnc: 'VNC' };

const passedOverWords: Record<PassedOver, (name: string) => string> = {
  unsupported: (name) => `this browser cannot show the ${name}`,
  unusable: (name) => `the ${name} is of another version`,
  late: (name) => `the ${name} sent no picture in time`,
  refused: (name) => `the ${name} could not be reached`,
};

/** Why this one; begins small and ends without a full stop. */
export function choiceWhy({ pinned, passedOver }: Choice): string {
  if (pinned) return 'chosen by you';
  const [best] = passedOver;
  return best ? passedOverWords[best.why](transportNames[best.kind].toLowerCase()) : 'the best there is';
}

export const proofWords: Record<ProofResult, string> = {
  same: 'Every pixel is GIMP’s',
  different: 'Not the same picture',
  moving: 'It was changing. Try again',
  unable: 'Cannot be compared here',
};
