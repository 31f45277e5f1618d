/** weft init: a folder with a network function of one's own: source, test, image, chart. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { Code, statusError } from "../../sdk/status.js";
import type { CliContext } from "../context.js";
import { clientFiles } from "../scaffold/client.js";
import { endpointFiles } from "../scaffold/endpoint.js";
import { firewallFiles } from "../scaffold/firewall.js";
import type { Files, Project } from "../scaffold/project.js";
import { version } from "../version.js";

export interface InitOptions {
  readonly service?: string;
  readonly dir?: string;
}

const kinds: Readonly<Record<string, (project: Project) => Files>> = {
  endpoint: endpointFiles,
  client: clientFiles,
  firewall: firewallFiles,
};

/** @throws INVALID_ARGUMENT the kind or a name; ALREADY_EXISTS the folder holds something, which stays as it is */
export async function init(kind: string, name: string, options: InitOptions, { out }: CliContext): Promise<number> {
  const files = Object.hasOwn(kinds, kind) ? kinds[kind] : undefined;
  if (files === undefined) {
    throw statusError(Code.INVALID_ARGUMENT, `"${kind}" cannot be made; there are ${Object.keys(kinds).join(", ")}`);
  }
  const service = options.service ?? "hello";
  for (const [what, text] of [
    ["name", name],
    ["service", service],
  ] as const) {
    if (/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(text)) continue;
    throw statusError(
      Code.INVALID_ARGUMENT,
      `the ${what} "${text}" cannot be used: at most 63 of a-z, 0-9 and "-", not at its ends`,
    );
  }
  const folder = resolve(options.dir ?? name);
  if (existsSync(folder) && readdirSync(folder).length > 0) {
    throw statusError(Code.ALREADY_EXISTS, `${folder} is not empty; choose another --dir, or empty it`);
  }
  mkdirSync(folder, { recursive: true });
  const packages = sdkPackages(folder);
  const written = Object.entries(files({ name, service, packages }));
  for (const [path, content] of written) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), content);
  }
  out.write(`${written.map(([path]) => `  ${join(relative(process.cwd(), folder) || ".", path)}\n`).join("")}`);
  out.write(
    `${kind} ${name} for service ${service}. Next, in ${folder}:\n  npm install && npm test\n  see README.md for a real mesh\n`,
  );
  return 0;
}

/** From a checkout both packages are packed into the project, else those of the same version are taken from the registry of npm. */
function sdkPackages(folder: string): Project["packages"] {
  const pack = packScript();
  if (pack === undefined) return { sdk: version, testing: version };
  const vendor = join(folder, "vendor");
  mkdirSync(vendor);
  const packed = (name: string): string => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [pack, name, vendor], { encoding: "utf8" });
    if (status !== 0) throw statusError(Code.INTERNAL, `@weft/${name} cannot be packed: ${stderr.trim()}`);
    return `file:${relative(folder, stdout.trim())}`;
  };
  return { sdk: packed("sdk"), testing: packed("testing") };
}

/** Beside the sources of a checkout; this file is in cli/commands or dist/cli/commands. */
function packScript(): string | undefined {
  const found = ["../..", "../../.."]
    .map((up) => fileURLToPath(new URL(`${up}/sdk/pack.mjs`, import.meta.url)))
    .find((path) => existsSync(path));
  return found;
}
