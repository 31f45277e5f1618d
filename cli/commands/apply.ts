/** weft apply: network services from YAML, in the form in which Kubernetes keeps them, into a registry. */
import { readFileSync } from "node:fs";
import { parseAllDocuments } from "yaml";
import { isSpecProblem, readService } from "../../registry/store/kubernetes/spec.js";
import type { NetworkService } from "../../sdk/gen/registry.js";
import { Code, statusError } from "../../sdk/status.js";
import { createDialer } from "../../sdk/transport/dial.js";
import type { CliContext } from "../context.js";
import { findSources, questionTimeoutMs, registryOf, type SourceOptions } from "../view/sources.js";

/** @throws INVALID_ARGUMENT naming the file, the object and its field; as the registry refuses */
export async function apply(path: string, options: SourceOptions, context: CliContext): Promise<number> {
  const services = readServices(path);
  const dialer = createDialer({ dialTimeoutMs: 1000 });
  try {
    const { url } = registryOf(await findSources(options, dialer, context.signal));
    const registry = dialer.serviceRegistry(url);
    for (const service of services) {
      const signal = AbortSignal.any([context.signal, AbortSignal.timeout(questionTimeoutMs)]);
      const { name, matches } = await registry.register(service, { signal });
      const text = matches.length === 0 ? "any endpoint" : `${matches.length} match${matches.length === 1 ? "" : "es"}`;
      context.out.write(`networkservice ${name}: ${text}\n`);
    }
    return 0;
  } finally {
    dialer.close();
  }
}

function readServices(path: string): NetworkService[] {
  let text: string;
  try {
    text = readFileSync(path === "-" ? 0 : path, "utf8");
  } catch (error) {
    throw statusError(Code.NOT_FOUND, `${path} cannot be read: ${(error as Error).message}`, error);
  }
  const services: NetworkService[] = [];
  for (const [index, document] of parseAllDocuments(text).entries()) {
    const where = `${path}, object ${index + 1}`;
    const [problem] = document.errors ?? [];
    if (problem !== undefined) throw statusError(Code.INVALID_ARGUMENT, `${where}: ${problem.message}`);
    const object: unknown = document.toJS();
    if (object !== null && object !== undefined) services.push(readObject(object, where));
  }
  if (services.length === 0) throw statusError(Code.INVALID_ARGUMENT, `${path} holds no NetworkService`);
  return services;
}

function readObject(object: unknown, where: string): NetworkService {
  const { kind, metadata, spec } = object as { kind?: unknown; metadata?: { name?: unknown }; spec?: unknown };
  if (kind !== "NetworkService") {
    throw statusError(Code.INVALID_ARGUMENT, `${where}: its kind is ${JSON.stringify(kind)}; only NetworkService can be applied`);
  }
  if (typeof metadata?.name !== "string" || metadata.name === "") {
    throw statusError(Code.INVALID_ARGUMENT, `${where}: metadata.name is missing`);
  }
  try {
    return readService(spec, metadata.name);
  } catch (error) {
    if (!isSpecProblem(error)) throw error;
    throw statusError(Code.INVALID_ARGUMENT, `${where}, ${metadata.name}: ${error.message}`, error);
  }
}
