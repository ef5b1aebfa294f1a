/** `finally` waits for a promise that its callback returns (ECMAScript 2018), which TypeScript's own declaration leaves out. */
interface Promise<T> {
  finally(onfinally: () => PromiseLike<unknown>): Promise<T>;
}
