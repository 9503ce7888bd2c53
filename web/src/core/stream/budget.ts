// How much of this device's memory the picture stream may take.

/** Pixels of tiles kept for the agent, four bytes each: 64 MB where there is memory, half on phones and small machines. */
export function cachePixels(): number {
  const { deviceMemory = 8, userAgentData, userAgent } = navigator as Navigator & {
    deviceMemory?: number;
    userAgentData?: { mobile: boolean };
  };
  const phone = userAgentData?.mobile ?? /\bMobile\b/.test(userAgent);
  return phone || deviceMemory <= 4 ? 8_000_000 : 16_000_000;
}
