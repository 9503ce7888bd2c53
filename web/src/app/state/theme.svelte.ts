// Dark or light: what was chosen here, else what the system says.

type Theme = 'dark' | 'light';

const KEY = 'gimp-platform.theme';
const system = window.matchMedia('(prefers-color-scheme: dark)');

class ThemeState {
  current = $state<Theme>(document.documentElement.dataset.theme === 'dark' ? 'dark' : 'light');

  constructor() {
    system.addEventListener('change', () => {
      if (localStorage.getItem(KEY) === null) this.#show(system.matches ? 'dark' : 'light');
    });
  }

  toggle(): void {
    const next: Theme = this.current === 'dark' ? 'light' : 'dark';
    // Choosing what the system says means following it again.
    if (next === (system.matches ? 'dark' : 'light')) localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, next);
    this.#show(next);
  }

  #show(theme: Theme): void {
    this.current = theme;
    document.documentElement.dataset.theme = theme;
  }
}

export const theme = new ThemeState();
