/** The page with GIMP is the largest; asked for while a session starts, it is there when GIMP is. */
export const sessionPage = () => import('./Session.svelte');
