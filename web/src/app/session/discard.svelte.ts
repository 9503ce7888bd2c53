// Discards what a session leaves unsaved, once it is over. If this page is closed before, the copies stay: better too many.

import { api, body } from '../../api';
import { isOver, live } from '../state/live.svelte';
import { toasts } from '../state/toasts.svelte';

/** Removes the copies of this session but for those in `keep`, when it has ended as asked for. */
export function discardWhenOver(sessionId: string, keep: ReadonlySet<string>): void {
  const stop = $effect.root(() => {
    $effect(() => {
      const session = live.sessions[sessionId];
      if (!session || !isOver(session)) return;
      // Not here: it would take down what runs.
      queueMicrotask(() => {
        stop();
        if (session.status === 'stopped' && session.endReason === 'user') void discard(sessionId, keep);
      });
    });
  });
}

async function discard(sessionId: string, keep: ReadonlySet<string>): Promise<void> {
  try {
    const { recoveries } = await body(api.GET('/api/v1/workspace/recoveries'));
    for (const { id } of recoveries.filter((copy) => copy.sessionId === sessionId && !keep.has(copy.id))) {
      await api.DELETE('/api/v1/workspace/recoveries/{id}', { params: { path: { id } } });
    }
  } catch (error) {
    toasts.failed(error);
  }
  // Whoever shows copies looks again.
  live.endings++;
}
