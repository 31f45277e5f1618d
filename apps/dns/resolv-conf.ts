/** What a pod's /etc/resolv.conf says (resolv.conf(5)); the file is only ever read. */
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { isIP } from "node:net";
import { lowerCase } from "./message.js";

export interface ResolvConf {
  /** Addresses, in the order of the file; those with a zone (%eth0) are left out. */
  readonly nameservers: readonly string[];
  /** Lower case, without the dot at the end. */
  readonly search: readonly string[];
  /** Names with fewer dots are tried with the search domains first. */
  readonly ndots: number;
}

const maxFileBytes = 64 * 1024;
/** Resolvers read no more than three (MAXNS); Kubernetes writes no more. A few in reserve. */
const maxNameservers = 8;

export function parseResolvConf(text: string): ResolvConf {
  const nameservers: string[] = [];
  let search: string[] = [];
  let ndots = 1;
  for (const line of text.split("\n")) {
    const [word, ...rest] = line.trim().split(/\s+/);
    const [first] = rest;
    if (word === "nameserver" && first !== undefined && isIP(first) !== 0 && !first.includes("%")) nameservers.push(first);
    // the last of both lines counts
    if (word === "search" || word === "domain") search = rest.map((domain) => lowerCase(domain.replace(/\.$/, "")));
    if (word === "options") {
      for (const option of rest) ndots = Number(/^ndots:(\d{1,2})$/.exec(option)?.[1] ?? ndots);
    }
  }
  return {
    nameservers: [...new Set(nameservers)].slice(0, maxNameservers),
    search: search.filter((domain) => domain !== ""),
    ndots: Math.min(15, ndots),
  };
}

/**
 * Reads a file that may belong to somebody hostile: only a plain file, only so much.
 * @param links  follow a symbolic link, as that of systemd; not where the path leads into a container
 * Undefined: it is not there, or is something else.
 */
export function readResolvConf(path: string, links: boolean): string | undefined {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | (links ? 0 : constants.O_NOFOLLOW));
  } catch {
    return undefined;
  }
  try {
    if (!fstatSync(fd).isFile()) return undefined;
    const buffer = Buffer.alloc(maxFileBytes);
    return buffer.toString("latin1", 0, readSync(fd, buffer, 0, maxFileBytes, 0));
  } catch {
    return undefined;
  } finally {
    closeSync(fd);
  }
}
