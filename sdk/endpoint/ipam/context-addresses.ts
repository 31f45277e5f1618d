/** Reading and editing the addresses of an IP context (pure; the input is never changed). */
import type { IPContext, Route } from "../../gen/connectioncontext.js";
import { type Address, parsePrefix } from "../../ip.js";
import { Code, statusError } from "../../status.js";

/** @throws INVALID_ARGUMENT naming the address that is malformed */
export function parseAddresses(texts: readonly string[], where: string): Address[] {
  return texts.map((text) => {
    const prefix = parsePrefix(text);
    if (prefix === undefined) throw statusError(Code.INVALID_ARGUMENT, `${where} ${JSON.stringify(text)} is not an address`);
    return { family: prefix.family, value: prefix.value };
  });
}

/** Without the addresses for which `unwanted` holds, and without the host routes that lead to them. */
export function withoutAddresses(context: IPContext, unwanted: (address: Address, text: string) => boolean): IPContext {
  const keep = (text: string): boolean => {
    const prefix = parsePrefix(text);
    return prefix === undefined || !unwanted(prefix, text);
  };
  return {
    ...context,
    src_ip_addrs: context.src_ip_addrs.filter(keep),
    dst_ip_addrs: context.dst_ip_addrs.filter(keep),
    src_routes: context.src_routes.filter(({ prefix }) => !isHost(prefix) || keep(prefix)),
    dst_routes: context.dst_routes.filter(({ prefix }) => !isHost(prefix) || keep(prefix)),
  };
}

export function withAddress(addresses: readonly string[], text: string): string[] {
  return addresses.includes(text) ? [...addresses] : [...addresses, text];
}

/** A route to that prefix is added unless there is one. */
export function withRoute(routes: readonly Route[], prefix: string, nextHop = ""): Route[] {
  return routes.some((route) => route.prefix === prefix) ? [...routes] : [...routes, { prefix, nextHop }];
}

function isHost(text: string): boolean {
  const prefix = parsePrefix(text);
  return prefix !== undefined && prefix.length === (prefix.family === 4 ? 32 : 128);
}
