/**
 * Addresses of gRPC servers as configuration and registry write them (pure).
 * Forms: unix:///absolute/path (also unix:/absolute/path), tcp://host:port, host:port, :port; IPv6 in brackets.
 */
import { isIPv4, isIPv6 } from "node:net";
import { Code, statusError } from "../status.js";

export type Address =
  | { readonly kind: "unix"; readonly path: string }
  /** Host without brackets; empty = every address of the machine (listen) or this machine (dial). */
  | { readonly kind: "tcp"; readonly host: string; readonly port: number };

/** Bytes that fit in sun_path beside the closing zero (unix(7)). */
export const maxSocketPathBytes = 107;

/**
 * @throws INVALID_ARGUMENT naming the url and what is wrong with it
 */
export function parseAddress(url: string): Address {
  if (url.length > 4096) throw invalid(`${url.slice(0, 64)}…`, "it is longer than 4096 characters");
  if (url.startsWith("unix:")) return parseUnix(url);
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(url);
  if (scheme !== null && scheme[1] !== "tcp") {
    throw invalid(url, `unknown scheme ${scheme[1]}; use unix:///path or tcp://host:port`);
  }
  const rest = scheme === null ? url : url.slice(scheme[0].length);
  const parts = /^(?:\[([^\]]*)\]|([^:/?#\s]*)):([0-9]{1,5})\/?$/.exec(rest);
  if (parts === null) throw invalid(url, "expected host:port, with an IPv6 address in brackets");
  const [, bracketed, plain = "", digits = ""] = parts;
  if (bracketed !== undefined && !isIPv6(bracketed)) throw invalid(url, `${bracketed} is no IPv6 address`);
  const port = Number(digits);
  if (port > 65_535) throw invalid(url, `port ${port} is above 65535`);
  return { kind: "tcp", host: bracketed ?? plain, port };
}

/** The address in its one spelling; equal addresses give equal texts. */
export function formatAddress(address: Address): string {
  if (address.kind === "unix") return `unix://${address.path}`;
  return `tcp://${isIPv6(address.host) ? `[${address.host}]` : address.host}:${address.port}`;
}

/** The address as the gRPC name resolver wants it (grpc/grpc doc/naming.md). */
export function dialTarget(address: Address): string {
  if (address.kind === "unix") return `unix:${address.path}`;
  const host = address.host || "127.0.0.1";
  if (isIPv4(host)) return `ipv4:${host}:${address.port}`;
  if (isIPv6(host)) return `ipv6:[${host}]:${address.port}`;
  return `dns:${host}:${address.port}`;
}

function parseUnix(url: string): Address {
  const path = url.replace(/^unix:(\/\/)?/, "");
  if (!path.startsWith("/")) throw invalid(url, "the path of a unix socket must be absolute: unix:///run/x.sock");
  if (path.includes("\0")) throw invalid(url, "the path contains a zero byte");
  const bytes = Buffer.byteLength(path);
  if (bytes > maxSocketPathBytes) {
    throw invalid(url, `the path has ${bytes} bytes, the kernel takes ${maxSocketPathBytes}; choose a shorter directory`);
  }
  return { kind: "unix", path };
}

function invalid(url: string, why: string): Error {
  return statusError(Code.INVALID_ARGUMENT, `address "${url}": ${why}`);
}
