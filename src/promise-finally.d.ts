/**
 * `finally` waits for a promise that its callback returns (ECMAScript 2018); TypeScript's own declaration does not
 * allow one.
 */
interface Promise<T> {
  finally(onfinally: () => PromiseLike<unknown>): Promise<T>;
}
