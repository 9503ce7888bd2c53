// The pages and their addresses.

export type Route =
  | { page: 'landing' | 'signin' | 'register' | 'forgot' | 'reset' | 'dashboard' | 'profile' | 'help' | 'admin' | 'notFound' }
  | { page: 'session'; id: string };

const SIMPLE = {
  '/': 'landing',
  '/signin': 'signin',
  '/register': 'register',
  '/forgot': 'forgot',
  '/reset': 'reset',
  '/dashboard': 'dashboard',
  '/profile': 'profile',
  '/help': 'help',
  '/admin': 'admin',
} as const;

const SESSION = /^\/session\/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/i;

export function matchRoute(pathname: string): Route {
  const path = pathname.length > 1 ? pathname.replace(/\/+$/, '') : pathname;
  if (Object.hasOwn(SIMPLE, path)) return { page: SIMPLE[path as keyof typeof SIMPLE] };
  const id = SESSION.exec(path)?.[1];
  return id ? { page: 'session', id: id.toLowerCase() } : { page: 'notFound' };
}

export const sessionPath = (id: string): string => `/session/${id}`;

/** Where to go after signing in: `wanted` if it is a page of ours, else the dashboard. */
export function safeReturn(wanted: string | null, origin: string): string {
  if (!wanted?.startsWith('/')) return '/dashboard';
  try {
    const url = new URL(wanted, origin);
    const page = matchRoute(url.pathname).page;
    if (url.origin !== origin || page === 'notFound' || page === 'signin' || page === 'landing') return '/dashboard';
    return url.pathname + url.search + url.hash;
  } catch {
    return '/dashboard';
  }
}
