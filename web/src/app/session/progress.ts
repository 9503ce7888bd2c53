// How far a session has come. Answers and events race each other; a session never goes back.

import type { Session } from '../../api';

const STEPS = ['creatingWorkspace', 'startingDisplay', 'startingGimp', 'ready'] as const;
const STAGES = ['save', 'quit', 'terminate', 'kill', 'display'] as const;

function progress(session: Pick<Session, 'status' | 'step' | 'stage'>): number {
  switch (session.status) {
    case 'starting':
      // -1 without a step. A start can be given up, too.
      return session.stage ? 200 + STAGES.indexOf(session.stage) : session.step ? STEPS.indexOf(session.step) : -1;
    case 'running':
      return session.stage ? 200 + STAGES.indexOf(session.stage) : 100;
    case 'stopped':
    case 'error':
      return 300;
  }
}

/** Whether `later` may replace `earlier`: it has come as far at least. */
export const mayFollow = (earlier: Pick<Session, 'status' | 'step' | 'stage'>, later: Pick<Session, 'status' | 'step' | 'stage'>): boolean =>
  progress(later) >= progress(earlier);
