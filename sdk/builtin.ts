/**
 * Modules of Node that only some deployments need, loaded when they are first used: each takes between a quarter and one
 * megabyte of every process that loads it (docs/operations.md, "Memory").
 */
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);

export interface Builtins {
  readonly "node:http": typeof import("node:http");
  readonly "node:http2": typeof import("node:http2");
  readonly "node:tls": typeof import("node:tls");
  readonly "node:zlib": typeof import("node:zlib");
}

/** A module of Node, now; for code that cannot wait for `import()`. */
export function builtin<Name extends keyof Builtins>(name: Name): Builtins[Name] {
  return require(name);
}
