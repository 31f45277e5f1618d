/** The running VPP's own description of its API: the .api.json files that are installed with it. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Definitions, Field, Message } from "./codec.js";

/** The folders in which the files of a VPP program may lie, the likeliest first. */
export function apiFolders(program: string): string[] {
  return [join(dirname(dirname(program)), "share/vpp/api"), "/usr/share/vpp/api", "/usr/local/share/vpp/api"];
}

/** Undefined: none of the folders has files. A file that cannot be read is as if it were not there. */
export function readApiFolders(folders: readonly string[]): Definitions | undefined {
  const folder = folders.find((each) => existsSync(each));
  const files = folder === undefined ? [] : findFiles(folder);
  if (files.length === 0) return undefined;
  const definitions = { types: new Map<string, readonly Field[]>(), messages: new Map<string, Message>() };
  for (const content of files.flatMap(readJson)) addFile(definitions, content);
  return definitions;
}

function findFiles(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return findFiles(path);
    return entry.name.endsWith(".api.json") ? [path] : [];
  });
}

function readJson(path: string): ApiFile[] {
  try {
    return [JSON.parse(readFileSync(path, "utf8")) as ApiFile];
  } catch {
    return [];
  }
}

type Row = readonly unknown[];
interface ApiFile {
  readonly types?: readonly Row[];
  readonly messages?: readonly Row[];
  readonly unions?: readonly Row[];
  readonly enums?: readonly Row[];
  readonly enumflags?: readonly Row[];
  readonly aliases?: Readonly<Record<string, { readonly type: string; readonly length?: number }>>;
}

/** Names are whole: a type is "vl_api_NAME_t" where it is used and NAME where it is defined. */
function addFile({ types, messages }: { types: Map<string, readonly Field[]>; messages: Map<string, Message> }, file: ApiFile) {
  for (const [name, ...rows] of file.types ?? []) types.set(String(name), fieldsOf(rows));
  for (const [name, ...rows] of [...(file.enums ?? []), ...(file.enumflags ?? [])]) {
    const { enumtype = "u32" } = (rows.at(-1) ?? {}) as { enumtype?: string };
    types.set(String(name), [{ name: "", type: enumtype, length: undefined }]);
  }
  for (const [name, ...rows] of file.unions ?? [])
    types.set(String(name), [{ name: "union", type: "union", length: undefined }, ...fieldsOf(rows)]);
  for (const [name, { type, length }] of Object.entries(file.aliases ?? {})) {
    types.set(name, [{ name: "", type: bare(type), length: length === undefined || length === 0 ? undefined : length }]);
  }
  for (const [name, ...rows] of file.messages ?? []) {
    const { crc = "" } = (rows.at(-1) ?? {}) as { crc?: string };
    const message = {
      name: String(name),
      crc: crc.replace(/^0x/, ""),
      fields: fieldsOf(rows).filter((each) => each.name !== "_vl_msg_id"),
    };
    messages.set(`${message.name}_${message.crc}`, message);
  }
}

function fieldsOf(rows: readonly unknown[]): Field[] {
  return rows.filter(Array.isArray).map((row: Row) => {
    const [type, name, first, second] = row.filter((each) => typeof each !== "object");
    const length = typeof second === "string" ? second : typeof first === "number" && first > 0 ? first : undefined;
    return { type: bare(String(type)), name: String(name), length };
  });
}

function bare(type: string): string {
  return type.replace(/^vl_api_(.*)_t$/, "$1");
}

/**
 * The same definitions with what codec.ts knows only: enums and aliases are what they stand for, unions bytes.
 * A message with a type that is not defined is left out.
 */
export function flatten(definitions: Definitions): Definitions {
  const flat = (field: Field, depth: number): Field => {
    const [only, ...others] = definitions.types.get(field.type) ?? [];
    if (only === undefined || depth > 16) return field;
    if (only.type === "union")
      return { ...field, type: "u8", length: Math.max(...others.map((each) => bytesOf(flat(each, depth + 1)))) };
    if (only.name !== "") return field;
    const resolved = flat({ ...only, name: field.name }, depth + 1);
    return field.length === undefined ? resolved : { ...resolved, length: field.length };
  };
  const bytesOf = ({ type, length }: Field): number => {
    const one =
      scalarBytes.get(type) ?? (definitions.types.get(type) ?? []).reduce((sum, each) => sum + bytesOf(flat(each, 0)), 0);
    return one * (typeof length === "number" ? length : 1);
  };
  const all = (fields: readonly Field[]): Field[] => fields.map((field) => flat(field, 0));
  return {
    types: new Map([...definitions.types].map(([name, fields]) => [name, all(fields)])),
    messages: new Map([...definitions.messages].map(([key, message]) => [key, { ...message, fields: all(message.fields) }])),
  };
}

const scalarBytes = new Map([
  ["u8", 1],
  ["i8", 1],
  ["bool", 1],
  ["u16", 2],
  ["i16", 2],
  ["u32", 4],
  ["i32", 4],
  ["u64", 8],
  ["i64", 8],
  ["f64", 8],
]);
