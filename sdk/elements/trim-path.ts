/**
 * trim-path — cuts what follows our own path segment from the answer: we are the end of this path.
 * For endpoints only; a hop that calls on must not use it.
 */
import type { ConnectionApi } from "../api.js";
import type { Element } from "../chain.js";
import { trimPath as trim } from "../path.js";

export function trimPath(): Element<ConnectionApi> {
  return {
    name: "trim-path",
    steps: { request: async (request, _context, rest) => trim(await rest.request(request)) },
  };
}
