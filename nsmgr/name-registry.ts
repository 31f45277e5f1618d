/** Errors of the registry in words for those who asked this manager: which part is away, what stays, what to do. */
import { Code, isStatusError, statusError, toStatusError } from "../sdk/status.js";
import type { RemoteRegistry } from "../sdk/transport/dial.js";

/** The same registry; when nobody answers, its errors say so in the caller's terms. */
export function nameRegistry<T>(registry: RemoteRegistry<T>, url: string): RemoteRegistry<T> {
  const named = async <R>(answer: Promise<R>): Promise<R> => {
    try {
      return await answer;
    } catch (error) {
      throw registryError(error, url);
    }
  };
  return {
    register: (entry, options) => named(registry.register(entry, options)),
    unregister: (entry, options) => named(registry.unregister(entry, options)),
    async *find(query, options) {
      try {
        yield* registry.find(query, options);
      } catch (error) {
        throw registryError(error, url);
      }
    },
  };
}

export function registryError(error: unknown, url: string): unknown {
  const status = isStatusError(error) ? error : toStatusError(error);
  if (status.code !== Code.UNAVAILABLE) return error;
  const text = `registry ${url} is away (${status.details}); existing connections stay; try again when it is back`;
  return statusError(Code.UNAVAILABLE, text, error);
}
