// Paths of the workspace: relative, `/` between names, the top is the empty string.

export const join = (folder: string, name: string): string => (folder === '' ? name : `${folder}/${name}`);

export const parent = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf('/')));

export const baseName = (path: string): string => path.slice(path.lastIndexOf('/') + 1);

/** From the top to the folder itself. */
export function crumbs(path: string): { name: string; path: string }[] {
  const names = path === '' ? [] : path.split('/');
  return [{ name: 'Files', path: '' }, ...names.map((name, index) => ({ name, path: names.slice(0, index + 1).join('/') }))];
}

/** Why a name cannot be used, in words; null when it can. */
export function nameProblem(name: string): string | null {
  if (name.trim() === '') return 'Enter a name.';
  if (name === '.' || name === '..') return 'This name has a meaning of its own. Choose another.';
  if (name.includes('/')) return 'A name cannot contain a slash.';
  // eslint-disable-next-line no-control-regex
  if (/[\u0000-\u001f\u007f]/.test(name)) return 'A name cannot contain line breaks or control characters.';
  if (new TextEncoder().encode(name).length > 255) return 'This name is too long.';
  return null;
}

/** What GIMP 2.10 and 3 open without asking what it is. */
const OPENABLE = new Set(
  'xcf xcf.gz xcf.bz2 xcf.xz png jpg jpeg jpe gif tif tiff webp bmp psd psb svg pdf tga ico cur heic heif avif jxl exr hdr pcx pnm pgm ppm pbm xpm ora dds fits ps eps wbmp jp2 j2k gbr gih pat raw cr2 nef arw dng'.split(
    ' ',
  ),
);

export function opensInGimp(entry: { name: string; kind: string; mediaType?: string | null }): boolean {
  if (entry.kind !== 'file') return false;
  if (entry.mediaType?.startsWith('image/')) return true;
  const [, ...parts] = entry.name.toLowerCase().split('.');
  return OPENABLE.has(parts.slice(-1).join('.')) || OPENABLE.has(parts.slice(-2).join('.'));
}
