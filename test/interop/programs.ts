/** How the parts are started: the binary of the Go module, or the components of this repository. */
import { fileURLToPath } from "node:url";
import type { PartOptions } from "./mesh.js";

/** Life of a client's token: it refreshes after a fifth of it. */
const clientLifetime = "15s";

function fromEnvironment(name: string): string | undefined {
  return process.env[name];
}

export const goBinary = fromEnvironment("WEFT_INTEROP_BINARY") ?? "";

export function goCommand({ part, name, urls, service, security, id, tunnelIp }: PartOptions): [string, ...string[]] {
  const flags: Record<string, string> = { name };
  if (part === "registry") flags["listen"] = urls.registry;
  else if (part === "nsmgr") {
    flags["listen"] = [...new Set([urls.nsmgr, urls.nsmgrPublic])].join(",");
    flags["url"] = urls.nsmgrPublic;
    flags["connect-to"] = urls.registry;
  } else flags["connect-to"] = urls.nsmgr;
  if (part === "forwarder") Object.assign(flags, { listen: urls.forwarder, ...(tunnelIp && { "tunnel-ip": tunnelIp }) });
  if (part === "endpoint") Object.assign(flags, { listen: urls.endpoint, service });
  if (part === "client") Object.assign(flags, { service, id, lifetime: clientLifetime });
  const switches = security === "mtls" ? ["--mtls", "--policies"] : [];
  return [goBinary, part, ...Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`), ...switches];
}

export function goEnv({ name, identitySocket }: PartOptions): Record<string, string | undefined> {
  return {
    PATH: fromEnvironment("PATH"),
    INTEROP_LOG_LEVEL: fromEnvironment("INTEROP_LOG_LEVEL"),
    INTEROP_NAME: name,
    SPIFFE_ENDPOINT_SOCKET: identitySocket,
  };
}

/** The same code as this file: compiled, or the sources. */
export function weftCommand({ part }: PartOptions): [string, ...string[]] {
  const program = fileURLToPath(new URL("./weft/part", import.meta.url));
  return import.meta.url.endsWith(".ts")
    ? [process.execPath, "--import", "tsx", `${program}.ts`, part]
    : [process.execPath, `${program}.js`, part];
}

export function weftEnv(options: PartOptions): Record<string, string | undefined> {
  const { part, name, urls, security, identitySocket, stateDir, service, mechanism, id } = options;
  const common = {
    PATH: fromEnvironment("PATH"),
    HOME: fromEnvironment("HOME"),
    INTEROP_NAME: name,
    NSM_NAME: name,
    NSM_LOG_LEVEL: fromEnvironment("INTEROP_LOG_LEVEL") ?? "warn",
    ...(security === "plain" ? { WEFT_INSECURE: "true" } : { SPIFFE_ENDPOINT_SOCKET: identitySocket }),
  };
  switch (part) {
    case "registry":
      return { ...common, NSM_LISTEN_ON: urls.registry, WEFT_STORE: "memory", WEFT_STATE_DIR: stateDir };
    case "nsmgr":
      return {
        ...common,
        NSM_LISTEN_ON: [...new Set([urls.nsmgr, urls.nsmgrPublic])].join(","),
        NSM_REGISTRY_URL: urls.registry,
        WEFT_STATE_DIR: stateDir,
      };
    case "forwarder":
      return {
        ...common,
        NSM_LISTEN_ON: urls.forwarder,
        NSM_CONNECT_TO: urls.nsmgr,
        NSM_TUNNEL_IP: options.tunnelIp ?? "127.0.0.1",
        WEFT_DATAPLANE: "none",
        WEFT_STATE_DIR: stateDir,
      };
    case "endpoint":
      return { ...common, NSM_LISTEN_ON: urls.endpoint, NSM_CONNECT_TO: urls.nsmgr, INTEROP_SERVICE: service };
    case "client":
      return {
        ...common,
        NSM_CONNECT_TO: urls.nsmgr,
        NSM_MAX_TOKEN_LIFETIME: clientLifetime,
        INTEROP_SERVICE: service,
        INTEROP_MECHANISM: mechanism,
        INTEROP_ID: id,
      };
  }
}
