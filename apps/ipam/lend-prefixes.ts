/** The streams of the address server: what is lent on a stream comes back when it ends. */
import { PrefixResponse, Type } from "../../sdk/gen/ipam.js";
import { Code, statusError } from "../../sdk/status.js";
import type { PrefixLender } from "../../sdk/transport/services.js";
import type { PrefixPool } from "./prefix-pool.js";

/** Prefixes that one stream may hold; more are refused. */
const maxPrefixes = 1024;

/** @param excluded  CIDRs that no answer may touch; told to every borrower beside its own */
export function lendPrefixes(pool: PrefixPool, excluded: readonly string[]): PrefixLender {
  return {
    async *manage(requests) {
      const borrower = {};
      let held = 0;
      try {
        for await (const { type, prefix, exclude_prefixes } of requests) {
          if (type === Type.DELETE) {
            pool.takeBack(borrower, prefix);
          } else if (type === Type.ALLOCATE) {
            if (++held > maxPrefixes) {
              throw statusError(Code.RESOURCE_EXHAUSTED, `one stream may ask for ${maxPrefixes} prefixes; end it and begin anew`);
            }
            const lent = pool.lend(borrower, prefix, [...exclude_prefixes, ...excluded]);
            if (lent === undefined) {
              throw statusError(
                Code.RESOURCE_EXHAUSTED,
                "no prefix is left; use a larger NSM_PREFIX or a longer NSM_CLIENT_PREFIX_LEN",
              );
            }
            yield PrefixResponse.fromPartial({ prefix: lent, exclude_prefixes: [...exclude_prefixes, ...excluded] });
          } else {
            throw statusError(Code.INVALID_ARGUMENT, `request type ${type} is neither ALLOCATE (1) nor DELETE (2)`);
          }
        }
      } finally {
        pool.takeAllBack(borrower);
      }
    },
  };
}
