/**
 * The policies that masks select, kept current. A mask is a regular expression on paths of files: those under etc/nsm/opa
 * are built in, others are .rego and .wasm files of this machine, looked at again every second. A file that becomes unusable
 * keeps its last good form, and the log says why.
 */
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { Code, statusError } from "../status.js";
import type { Log } from "../telemetry/log.js";
import { builtInFolder } from "./built-in.js";
import { findOpa } from "./opa.js";
import { type Policy, type PolicySource, textOf } from "./policy.js";
import type { RuleTools } from "./rules.js";
import { wasmPolicy } from "./wasm.js";

export interface LoadOptions {
  readonly builtIn: readonly Policy[];
  readonly tools: RuleTools;
  readonly log: Log;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** How often files are looked at, in milliseconds. */
  readonly pollMs?: number;
}

export interface LoadedPolicies {
  readonly source: PolicySource;
  /** Looks at the files now. */
  reload(): Promise<void>;
  close(): void;
}

interface Mask {
  readonly text: string;
  readonly pattern: RegExp;
  readonly builtIn: readonly Policy[] | undefined;
}

interface Loaded {
  /** Changes when the file does. */
  readonly mark: string;
  /** The last good form; undefined = there was none yet. */
  readonly policy: Policy | undefined;
}

/** A folder of policies is small; these bound what a wrong mask makes us read. */
const bounds = { depth: 8, files: 1000, fileBytes: 16 * 1024 * 1024 } as const;

/**
 * @throws INVALID_ARGUMENT a mask is no regular expression, or selects none of the built-in policies;
 *         FAILED_PRECONDITION a file cannot be used
 */
export async function loadPolicies(masks: readonly string[], options: LoadOptions): Promise<LoadedPolicies> {
  const { log, pollMs = 1000 } = options;
  const parsed = masks.map((mask) => parseMask(mask, options.builtIn));
  const hasFiles = parsed.some(({ builtIn }) => builtIn === undefined);
  let files = new Map<string, Loaded>();
  let current: readonly Policy[] = [];
  let timer: NodeJS.Timeout | undefined;
  let closed = false;

  async function read(onBroken: (path: string, error: unknown) => void): Promise<void> {
    const found = await findFiles(parsed);
    const next = new Map<string, Loaded>();
    for (const { path, mark } of found.flat()) {
      const before = files.get(path);
      if (before?.mark === mark || next.has(path)) next.set(path, next.get(path) ?? (before as Loaded));
      else next.set(path, { mark, policy: await compile(path, options).catch((error) => kept(path, before, error, onBroken)) });
    }
    for (const path of files.keys()) if (!next.has(path)) log.info("a policy file has gone", { policy: path });
    files = next;
    const inOrder = parsed.flatMap(
      ({ builtIn }, i) => builtIn ?? (found[i] ?? []).flatMap(({ path }) => files.get(path)?.policy ?? []),
    );
    current = inOrder.filter(({ name }, i) => inOrder.findIndex((other) => other.name === name) === i);
  }

  const broken = (path: string, error: unknown): void =>
    log.error(`policy file ${path} cannot be used: ${textOf(error)}; what was in force stays`, { policy: path });
  const reload = (): Promise<void> => read(broken).catch((error) => log.error("policy files cannot be read", { error }));
  const poll = (): void => {
    if (!closed) timer = setTimeout(() => void reload().then(poll), pollMs);
  };
  await read((path, error) => {
    throw statusError(Code.FAILED_PRECONDITION, `policy file ${path} cannot be used: ${textOf(error)}`, error);
  });
  if (hasFiles) poll();
  if (masks.length > 0) log.debug("policies in force", { policies: current.map(({ name }) => name) });
  return {
    source: { current: () => current },
    reload,
    close() {
      closed = true;
      clearTimeout(timer);
    },
  };
}

function kept(path: string, before: Loaded | undefined, error: unknown, onBroken: (path: string, error: unknown) => void) {
  onBroken(path, error);
  return before?.policy;
}

function parseMask(text: string, builtIn: readonly Policy[]): Mask {
  let pattern: RegExp;
  try {
    pattern = new RegExp(text);
  } catch (error) {
    throw statusError(Code.INVALID_ARGUMENT, `policy mask "${text}" is no regular expression: ${textOf(error)}`);
  }
  if (!text.startsWith(builtInFolder)) return { text, pattern, builtIn: undefined };
  const selected = builtIn.filter(({ name }) => pattern.test(name));
  if (selected.length > 0) return { text, pattern, builtIn: selected };
  const names = builtIn.map(({ name }) => name).join(", ");
  throw statusError(Code.INVALID_ARGUMENT, `policy mask "${text}" selects none of the built-in policies: ${names}`);
}

/** Of each mask, in the order of their paths. */
function findFiles(masks: readonly Mask[]): Promise<{ path: string; mark: string }[][]> {
  return Promise.all(
    masks.map(async ({ text, pattern, builtIn }) => {
      if (builtIn !== undefined) return [];
      const found: { path: string; mark: string }[] = [];
      for await (const path of walk(await rootOf(text), 0)) {
        if (!/\.(rego|wasm)$/.test(path) || path.endsWith("_test.rego") || !pattern.test(path)) continue;
        if (found.length >= bounds.files) throw new Error(`policy mask "${text}" selects more than ${bounds.files} files`);
        const { mtimeMs, size, ino } = await stat(path);
        found.push({ path, mark: `${mtimeMs} ${size} ${ino}` });
      }
      return found.sort((a, b) => (a.path < b.path ? -1 : 1));
    }),
  );
}

/** The folder that a mask begins with: as much of it as is one. */
async function rootOf(mask: string): Promise<string> {
  let root = mask.startsWith("/") ? "/" : ".";
  for (const part of mask.replace(/^\^?\/?/, "").split("/")) {
    const next = join(root, part.replaceAll("\\", ""));
    const isFolder = await stat(next).then(
      (found) => found.isDirectory(),
      () => false,
    );
    if (!isFolder) return root;
    root = next;
  }
  return root;
}

async function* walk(folder: string, depth: number): AsyncIterable<string> {
  if (depth > bounds.depth) return;
  // a mounted ConfigMap shows its files as links
  for (const name of await readdir(folder).catch(() => [])) {
    const path = join(folder, name);
    const found = await stat(path).catch(() => undefined);
    if (found?.isDirectory() && !name.startsWith("..")) yield* walk(path, depth + 1);
    else if (found?.isFile()) yield path;
  }
}

async function compile(path: string, { tools, env }: LoadOptions): Promise<Policy> {
  const { size } = await stat(path);
  if (size > bounds.fileBytes) throw new Error(`it has ${size} bytes, more than ${bounds.fileBytes}`);
  if (path.endsWith(".wasm")) return wasmPolicy(path, await readFile(path), tools);
  const opa = findOpa(env);
  if (opa === undefined) throw new Error("there is no opa command to compile it; set OPA or PATH, or give it as .wasm");
  const { compileRego } = await import("./compile-rego.js");
  return wasmPolicy(path, await compileRego(opa, path), tools);
}
