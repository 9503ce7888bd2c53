// Numbers and times as people read them.

const numbers = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });
const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const day = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium' });
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: 'short' });
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: 'auto' });

// As the quota is set: 1 GB is 1024 MB.
const UNITS = ['bytes', 'KB', 'MB', 'GB', 'TB'];
const STEP = 1024;

export function bytes(count: number): string {
  let value = count;
  let unit = 0;
  while (value >= STEP - 0.5 && unit < UNITS.length - 1) {
    value /= STEP;
    unit++;
  }
  if (unit === 0) return count === 1 ? '1 byte' : `${whole.format(value)} bytes`;
  return `${(value < 99.5 ? numbers : whole).format(value)} ${UNITS[unit]}`;
}

export const dateTime = (at: string): string => moment.format(new Date(at));

/** "14:05" today, "yesterday", "3 days ago", else the date. */
export function ago(at: string, now: number): string {
  const then = new Date(at);
  const midnight = (date: Date) => new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();
  const days = Math.round((midnight(new Date(now)) - midnight(then)) / 86_400_000);
  if (days <= 0) {
    const minutes = Math.round((now - then.getTime()) / 60_000);
    if (minutes < 1) return 'just now';
    if (minutes < 60) return relative.format(-minutes, 'minute');
    return clock.format(then);
  }
  return days < 7 ? relative.format(-days, 'day') : day.format(then);
}

/** "1 h 05 min", "4 min", "under a minute". */
export function duration(milliseconds: number): string {
  const minutes = Math.floor(Math.max(0, milliseconds) / 60_000);
  if (minutes < 1) return 'under a minute';
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours >= 48) return `${Math.floor(hours / 24)} days`;
  return `${hours} h ${String(minutes % 60).padStart(2, '0')} min`;
}

/** "1:59:03" or "4:05". */
export function countdown(milliseconds: number): string {
  const seconds = Math.max(0, Math.ceil(milliseconds / 1000));
  const two = (value: number) => String(value).padStart(2, '0');
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor((seconds % 3600) / 60);
  return hours > 0 ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}

export const percent = (part: number, of: number): number => (of > 0 ? Math.min(100, Math.max(0, (part / of) * 100)) : 0);

export const plural = (count: number, one: string, many: string): string => `${whole.format(count)} ${count === 1 ? one : many}`;

/** "8.4 ms", "120 ms"; a dash for what is not known. */
export function milliseconds(value: number | null | undefined): string {
  return value == null ? '–' : `${(value < 99.5 ? numbers : whole).format(value)} ms`;
}

/** "0 Mbit/s", "12.5 Mbit/s"; a dash for what is not known. */
export function bits(perSecond: number | null | undefined): string {
  return perSecond == null ? '–' : `${numbers.format(perSecond / 1_000_000)} Mbit/s`;
}
