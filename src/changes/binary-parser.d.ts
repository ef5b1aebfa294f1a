/** The part of binary-parser that we use: node's module resolution does not find the package's own declarations. */
declare module 'binary-parser' {
  export class Parser<T = object> {
    endianness(order: 'little' | 'big'): this;
    uint32<Name extends string>(name: Name): Parser<T & Record<Name, number>>;
    parse(bytes: Uint8Array): T;
  }
}
