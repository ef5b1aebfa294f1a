/** What we use of binary-parser: its package's own declarations are not found under node's module resolution. */
declare module 'binary-parser' {
  export class Parser<T = object> {
    endianness(order: 'little' | 'big'): this;
    uint32<Name extends string>(name: Name): Parser<T & Record<Name, number>>;
    parse(bytes: Uint8Array): T;
  }
}
