// Lossless tiles to pixels: Zstandard and unfiltering in WebAssembly, in one memory, without a copy between the two.

import { unfilter as unfilterModule, zstd as zstdModule } from 'virtual:tile-wasm';

import type { TileCodec } from './messages';
import { PlainUnfilter, SLACK, type Unfilter } from './unfilter';

/** A tile that cannot be decoded. */
export class TileError extends Error {
  override readonly name = 'TileError';
}

/** What the Zstandard module offers; addresses are numbers. */
interface Zstd {
  memory: WebAssembly.Memory;
  malloc(bytes: number): number;
  free(address: number): void;
  ZSTD_decompress(to: number, room: number, from: number, length: number): number;
  ZSTD_isError(result: number): number;
}

/** A buffer in the module's memory that grows with what it is asked to hold. */
class Scratch {
  readonly #zstd: Zstd;
  #address = 0;
  #room = 0;

  constructor(zstd: Zstd) {
    this.#zstd = zstd;
  }

  /** Room for so many bytes; what was there is void, and so is every view of the memory. */
  hold(bytes: number): number {
    if (bytes <= this.#room) return this.#address;
    if (this.#address) this.#zstd.free(this.#address);
    this.#room = 0;
    this.#address = this.#zstd.malloc(bytes);
    if (this.#address === 0) throw new TileError(`no memory for ${bytes} bytes`);
    this.#room = bytes;
    return this.#address;
  }
}

/** Bits of an index, by the number of colours. */
function indexBits(colours: number): number {
  if (colours <= 2) return 1;
  if (colours <= 4) return 2;
  return colours <= 16 ? 4 : 8;
}

export class TileDecoder {
  readonly #zstd: Zstd;
  readonly #unfilter: Unfilter;
  readonly #packed: Scratch;
  readonly #unpacked: Scratch;
  readonly #pixels: Scratch;
  readonly #scratch: Scratch;
  readonly #table: number;

  /** Rejects where WebAssembly is missing or forbidden. */
  static async create(unfilter: 'fastest' | 'plain' = 'fastest'): Promise<TileDecoder> {
    const { exports } = await WebAssembly.instantiate(await module(zstdModule), {
      // The one thing it wants to tell is of no interest: no view of the memory is kept.
      env: { emscripten_notify_memory_growth: () => undefined },
    });
    const zstd = exports as unknown as Zstd;
    const { memory } = zstd;
    if (unfilter === 'plain') return new TileDecoder(zstd, new PlainUnfilter(memory));
    try {
      const instance = await WebAssembly.instantiate(await module(unfilterModule), { env: { memory } });
      return new TileDecoder(zstd, instance.exports as unknown as Unfilter);
    } catch {
      return new TileDecoder(zstd, new PlainUnfilter(memory));
    }
  }

  private constructor(zstd: Zstd, unfilter: Unfilter) {
    this.#zstd = zstd;
    this.#unfilter = unfilter;
    this.#packed = new Scratch(zstd);
    this.#unpacked = new Scratch(zstd);
    this.#pixels = new Scratch(zstd);
    this.#scratch = new Scratch(zstd);
    this.#table = new Scratch(zstd).hold(256 * 4);
  }

  /** Whether the SIMD module is in use. */
  get fast(): boolean {
    return !(this.#unfilter instanceof PlainUnfilter);
  }

  /** Red, green, blue, 255; of a partial tile 0, 0, 0, 0 where there is no pixel. A view that holds until the next call. Throws `TileError`. */
  decode(codec: TileCodec, width: number, height: number, data: Uint8Array): Uint8ClampedArray<ArrayBuffer> {
    const count = width * height;
    if (count === 0) throw new TileError('an empty tile');
    switch (codec) {
      case 'raw':
        return this.#raw(count, data);
      case 'planes':
        return this.#planes(width, height, data);
      case 'palette':
        return this.#palette(width, height, data);
      case 'partial':
        return this.#partial(width, height, data);
    }
  }

  #raw(count: number, data: Uint8Array): Uint8ClampedArray<ArrayBuffer> {
    if (data.length !== count * 3) throw new TileError(`${data.length} bytes for ${count} pixels`);
    const from = this.#packed.hold(data.length);
    const to = this.#pixels.hold(count * 4);
    this.#bytes(from, data.length).set(data);
    this.#unfilter.raw(from, to, count);
    return this.#result(to, count);
  }

  #planes(width: number, height: number, data: Uint8Array): Uint8ClampedArray<ArrayBuffer> {
    const predictor = data[0] ?? 8;
    if (predictor > 7) throw new TileError(`unknown predictor ${data[0]}`);
    const count = width * height;
    const to = this.#pixels.hold(count * 4);
    const scratch = (predictor & 3) >= 2 ? this.#scratch.hold(this.#unfilter.bandScratch(width)) : 0;
    const from = this.#decompress(data.subarray(1), count * 3);
    this.#unfilter.planes(from, to, width, height, predictor, scratch);
    return this.#result(to, count);
  }

  #palette(width: number, height: number, data: Uint8Array): Uint8ClampedArray<ArrayBuffer> {
    const colours = (data[0] ?? 0) + 1;
    const begin = 1 + colours * 3;
    if (data.length < begin) throw new TileError('a palette that ends too early');
    const bits = indexBits(colours);
    const to = this.#pixels.hold(width * height * 4);
    const from = this.#decompress(data.subarray(begin), Math.ceil((width * bits) / 8) * height);

    const table = this.#bytes(this.#table, 256 * 4).fill(0);
    for (let i = 0; i < colours; i++) {
      table.set(data.subarray(1 + i * 3, 4 + i * 3), i * 4);
      table[i * 4 + 3] = 255;
    }
    if (!this.#unfilter.palette(from, bits, this.#table, to, width, height)) throw new TileError('an index without colour');
    return this.#result(to, width * height);
  }

  #partial(width: number, height: number, data: Uint8Array): Uint8ClampedArray<ArrayBuffer> {
    const apart = data[0] === 4;
    if (!apart && data[0] !== 0) throw new TileError(`unknown predictor ${data[0]}`);
    const stride = Math.ceil(width / 8);
    const to = this.#pixels.hold(width * height * 4);
    const [from, got] = this.#unpack(data.subarray(1), stride * height + width * height * 3);
    const bytes = this.#bytes(from, got);
    const places: number[] = [];
    if (got < stride * height) throw new TileError('bits of a partial tile that end too early');
    for (let at = 0; at < width * height; at++) {
      const x = at % width;
      if (bytes[((at - x) / width) * stride + (x >> 3)]! & (0x80 >> (x & 7))) places.push(at);
    }
    const count = places.length;
    if (got !== stride * height + count * 3) throw new TileError(`${got} bytes for ${count} pixels`);
    const planes = bytes.subarray(stride * height);
    const pixels = this.#result(to, width * height).fill(0);
    let [red, green, blue] = [0, 0, 0];
    for (let i = 0; i < count; i++) {
      green = (green + planes[i]!) & 255;
      red = (red + planes[count + i]!) & 255;
      blue = (blue + planes[2 * count + i]!) & 255;
      const base = apart ? 0 : green;
      const at = places[i]! * 4;
      pixels[at] = (red + base) & 255;
      pixels[at + 1] = green;
      pixels[at + 2] = (blue + base) & 255;
      pixels[at + 3] = 255;
    }
    return pixels;
  }

  /** Address of the unpacked bytes, which must be exactly so many. */
  #decompress(data: Uint8Array, expected: number): number {
    const [to, got] = this.#unpack(data, expected);
    if (got !== expected) throw new TileError(`${expected} bytes do not come out of Zstandard`);
    return to;
  }

  /** Address and number of the unpacked bytes, at most so many. */
  #unpack(data: Uint8Array, most: number): [number, number] {
    const from = this.#packed.hold(data.length);
    const to = this.#unpacked.hold(most + SLACK);
    this.#bytes(from, data.length).set(data);
    const got = this.#zstd.ZSTD_decompress(to, most, from, data.length);
    if (this.#zstd.ZSTD_isError(got)) throw new TileError(`at most ${most} bytes do not come out of Zstandard`);
    return [to, got];
  }

  #bytes(address: number, length: number): Uint8Array {
    return new Uint8Array(this.#zstd.memory.buffer, address, length);
  }

  #result(address: number, count: number): Uint8ClampedArray<ArrayBuffer> {
    return new Uint8ClampedArray(this.#zstd.memory.buffer, address, count * 4);
  }
}

function module(base64: string): Promise<WebAssembly.Module> {
  return WebAssembly.compile(Uint8Array.from(atob(base64), (character) => character.charCodeAt(0)));
}
