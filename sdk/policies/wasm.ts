/**
 * Policies compiled to WebAssembly by `opa build -t wasm`: the host side of OPA's ABI 1.2 (openpolicyagent.org, "WebAssembly
 * ABI"). The module has no access to anything but its input and the functions below.
 */
import { createPublicKey } from "node:crypto";
import { readClaims } from "../identity/tokens.js";
import { regoInput } from "./input.js";
import type { Policy } from "./policy.js";
import type { RuleTools } from "./rules.js";

/** A policy's memory, in pages of 64 KiB: some for a start, and the bound. */
const pages = { initial: 8, maximum: 1024 } as const;

/** The part of node's WebAssembly that is used here: its types come with those of browsers only. */
interface Memory {
  readonly buffer: ArrayBuffer;
  grow(pages: number): number;
}
interface WebAssemblyApi {
  readonly Memory: new (pages: { initial: number; maximum: number }) => Memory;
  instantiate(bytes: Uint8Array, imports: { env: Record<string, unknown> }): Promise<{ instance: { exports: unknown } }>;
}
const WebAssembly: WebAssemblyApi = Reflect.get(globalThis, "WebAssembly");

interface Exports {
  readonly opa_malloc: (bytes: number) => number;
  readonly opa_json_parse: (address: number, bytes: number) => number;
  readonly opa_json_dump: (value: number) => number;
  readonly opa_heap_ptr_get: () => number;
  readonly opa_eval: (
    reserved: number,
    entrypoint: number,
    data: number,
    input: number,
    inputBytes: number,
    heap: number,
    format: number,
  ) => number;
  readonly builtins: () => number;
  readonly entrypoints: () => number;
}

/** A function of Rego that the host gives; undefined = no result. */
type HostFunction = (...args: readonly unknown[]) => unknown;

/**
 * @param name  path of the policy's file, for texts
 * @throws Error when it is no such module, needs functions that are not there, or does not say which rule to ask
 */
export async function wasmPolicy(name: string, bytes: Uint8Array, tools: RuleTools): Promise<Policy> {
  const memory = new WebAssembly.Memory(pages);
  const functions = new Map<number, HostFunction>();
  const call = (id: number, ...args: readonly number[]): number => {
    const result = functions.get(id)?.(...args.map((address) => take(address)));
    return result === undefined ? 0 : give(JSON.stringify(result));
  };
  const { instance } = await WebAssembly.instantiate(bytes, {
    env: {
      memory,
      opa_abort(address: number) {
        throw new Error(text(memory, address));
      },
      opa_println() {},
      opa_builtin0: (id: number) => call(id),
      opa_builtin1: (id: number, _context: number, a: number) => call(id, a),
      opa_builtin2: (id: number, _context: number, a: number, b: number) => call(id, a, b),
      opa_builtin3: (id: number, _context: number, a: number, b: number, c: number) => call(id, a, b, c),
      opa_builtin4: (id: number, _context: number, a: number, b: number, c: number, d: number) => call(id, a, b, c, d),
    },
  });
  const opa = instance.exports as Exports;
  const take = (address: number): unknown => JSON.parse(text(memory, opa.opa_json_dump(address)));
  const put = (encoded: Uint8Array): number => {
    const address = opa.opa_malloc(encoded.length);
    new Uint8Array(memory.buffer).set(encoded, address);
    return address;
  };
  const give = (json: string): number => {
    const encoded = Buffer.from(json);
    return opa.opa_json_parse(put(encoded), encoded.length);
  };

  const known = hostFunctions(tools);
  for (const [wanted, id] of Object.entries(take(opa.builtins()) as Record<string, number>)) {
    const given = known.get(wanted);
    if (given === undefined) throw new Error(`it calls ${wanted}, which is not available here`);
    functions.set(id, given);
  }
  const entrypoint = entrypointOf(take(opa.entrypoints()) as Record<string, number>);
  const data = give("{}");
  const heap = opa.opa_heap_ptr_get();

  return {
    name,
    decide(input) {
      const encoded = Buffer.from(JSON.stringify(regoInput(input)));
      // input goes where the heap ends, and evaluation goes on behind it: both are free again the next time
      const needed = heap + encoded.length - memory.buffer.byteLength;
      if (needed > 0) memory.grow(Math.ceil(needed / 65_536));
      new Uint8Array(memory.buffer).set(encoded, heap);
      const behind = heap + Math.ceil(encoded.length / 8) * 8;
      const result = opa.opa_eval(0, entrypoint, data, heap, encoded.length, behind, 0);
      const [first] = JSON.parse(text(memory, result)) as { result?: unknown }[];
      if (typeof first?.result !== "boolean") throw new Error("`valid` is not defined for this input, or not true or false");
      return first.result ? undefined : "it says so";
    },
  };
}

function text(memory: Memory, address: number): string {
  const bytes = new Uint8Array(memory.buffer);
  const end = bytes.indexOf(0, address);
  return Buffer.from(bytes.subarray(address, end < 0 ? undefined : end)).toString("utf8");
}

function entrypointOf(all: Record<string, number>): number {
  const names = Object.keys(all);
  const [only] = names;
  const named = names.length === 1 ? only : names.find((one) => one === "valid" || one.endsWith("/valid"));
  const id = named === undefined ? undefined : all[named];
  if (id === undefined) throw new Error(`it has no entrypoint PACKAGE/valid; it has: ${names.join(", ") || "none"}`);
  return id;
}

/** What Rego policies for tokens call and OPA leaves to its host. */
function hostFunctions({ nowMs, isSignedBy }: RuleTools): ReadonlyMap<string, HostFunction> {
  const part = (token: string, index: number): Buffer => Buffer.from(token.split(".")[index] ?? "", "base64url");
  return new Map<string, HostFunction>([
    ["time.now_ns", () => nowMs() * 1_000_000],
    [
      "io.jwt.decode",
      (token) => {
        if (typeof token !== "string" || readClaims(token) === undefined) return undefined;
        return [JSON.parse(part(token, 0).toString()), JSON.parse(part(token, 1).toString()), part(token, 2).toString("hex")];
      },
    ],
    [
      "io.jwt.verify_es256",
      (token, certificate) => {
        if (typeof token !== "string" || typeof certificate !== "string" || certificate === "") return undefined;
        try {
          return isSignedBy(token, createPublicKey(certificate));
        } catch {
          return undefined;
        }
      },
    ],
  ]);
}
