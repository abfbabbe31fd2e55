/**
 * For what is begun now and waited for later, if at all: should it fail before, that is no unhandled rejection. It is still an
 * error of whoever waits for it.
 */
export function awaitedLater<T>(result: Promise<T>): Promise<T> {
  result.catch(() => undefined);
  return result;
}
