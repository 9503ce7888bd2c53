// How a person wants the picture: which way it travels, whether its figures are shown. Kept in this browser.

import { pinOf, type TransportPin } from '../../core/chooser';

const PIN = 'gimp-platform.transport';
const HUD = 'gimp-platform.hud';

class PictureSettings {
  pin = $state<TransportPin>(pinOf(localStorage.getItem(PIN)));
  hud = $state(localStorage.getItem(HUD) === 'shown');

  setPin(pin: TransportPin): void {
    this.pin = pin;
    if (pin === 'auto') localStorage.removeItem(PIN);
    else localStorage.setItem(PIN, pin);
  }

  toggleHud(): void {
    this.hud = !this.hud;
    if (this.hud) localStorage.setItem(HUD, 'shown');
    else localStorage.removeItem(HUD);
  }
}

export const picture = new PictureSettings();
