// Where the browser is. Links are ordinary links: clicks on them are caught once, here.

import { tick } from 'svelte';

import { matchRoute, type Route } from '../routes';

class Router {
  route = $state.raw<Route>(matchRoute(location.pathname));
  search = $state(location.search);
  /** Rises with every change of page, so that the page can be announced and get the focus. */
  moves = $state(0);

  constructor() {
    window.addEventListener('popstate', () => this.#read());
    document.addEventListener('click', (event) => this.#click(event));
  }

  get query(): URLSearchParams {
    return new URLSearchParams(this.search);
  }

  go(path: string, { replace = false } = {}): void {
    if (replace) history.replaceState(null, '', path);
    else history.pushState(null, '', path);
    this.#read();
    if (!location.hash) window.scrollTo(0, 0);
  }

  /** Changes one parameter of the address without a new entry in the history. */
  setQuery(name: string, value: string | null): void {
    const query = this.query;
    if (value === null) query.delete(name);
    else query.set(name, value);
    const text = query.toString();
    history.replaceState(null, '', location.pathname + (text ? `?${text}` : ''));
    this.search = location.search;
  }

  #read(): void {
    const route = matchRoute(location.pathname);
    const same = JSON.stringify(route) === JSON.stringify(this.route);
    this.search = location.search;
    if (same) return;
    this.route = route;
    void tick().then(() => this.moves++);
  }

  #click(event: MouseEvent): void {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = event.target instanceof Element ? event.target.closest('a') : null;
    if (!link || link.target || link.hasAttribute('download') || link.origin !== location.origin) return;
    if (matchRoute(link.pathname).page === 'notFound') return;
    if (link.pathname === location.pathname && link.search === location.search && link.hash) return;
    event.preventDefault();
    this.go(link.pathname + link.search + link.hash);
  }
}

export const router = new Router();
