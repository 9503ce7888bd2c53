// Who is signed in.

import { api, ApiError, body, type User, whenSignedOut } from '../../api';
import { live } from './live.svelte';
import { router } from './router.svelte';

/** Says only that this browser signed in at some time, so that strangers are not asked for. */
const HINT = 'gimp-platform.signed-in';

const PRIVATE = new Set(['dashboard', 'session', 'profile', 'admin']);

class Account {
  user = $state.raw<User | null>(null);
  state = $state<'loading' | 'known' | 'unreachable'>('loading');

  constructor() {
    whenSignedOut(() => this.signedOut());
    // Signing in or out in another tab.
    window.addEventListener('storage', (event) => {
      if (event.key !== HINT) return;
      if (event.newValue === null) this.signedOut();
      else if (!this.user) void this.load();
    });
  }

  async load(): Promise<void> {
    if (localStorage.getItem(HINT) === null && !PRIVATE.has(router.route.page)) {
      this.state = 'known';
      return;
    }
    try {
      this.signedIn(await body(api.GET('/api/v1/users/profile')));
    } catch (error) {
      if (error instanceof ApiError && (error.status === 401 || error.status === 403)) this.signedOut();
      else this.state = 'unreachable';
    }
  }

  signedIn(user: User): void {
    localStorage.setItem(HINT, '1');
    this.user = user;
    this.state = 'known';
    live.start();
  }

  signedOut(): void {
    localStorage.removeItem(HINT);
    this.user = null;
    this.state = 'known';
    live.stop();
  }

  async signOut(everywhere = false): Promise<void> {
    await api.POST('/api/v1/auth/logout', { body: { everywhere } });
    this.signedOut();
    router.go('/');
  }

  needsSignIn(page: string): boolean {
    return PRIVATE.has(page) && this.state === 'known' && this.user === null;
  }
}

export const account = new Account();
