declare module 'virtual:tile-wasm' {
  /** Base64. */
  export const zstd: string;
  export const unfilter: string;
}
