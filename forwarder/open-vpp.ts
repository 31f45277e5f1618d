/** Opens VPP as data plane: finds the program and its own description of its API. */
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { Code, statusError } from "../sdk/status.js";
import type { Log } from "../sdk/telemetry/log.js";
import type { DataPlane } from "./dataplane/dataplane.js";
import type { VppConfig } from "./vpp-settings.js";

/** Room in sockaddr_un (unix(7)). */
const maxSocketBytes = 107;

export interface VppParts {
  readonly beneath: DataPlane;
  readonly stateDir: string;
  readonly log: Log;
  readonly processEnv: Readonly<Record<string, string>> | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** @throws FAILED_PRECONDITION there is no VPP, or the path of its socket is too long */
export async function openVpp(
  config: Partial<VppConfig> & { readonly directMemif?: boolean },
  { beneath, stateDir, log, env, processEnv }: VppParts,
): Promise<DataPlane> {
  const { createVppDataPlane } = await import("./dataplane/vpp/vpp.js");
  const { apiFolders, flatten, readApiFolders } = await import("./vpp/api-files.js");
  const { defaultSizes } = await import("./vpp/start-conf.js");
  const apiSocket = config.vppApiSocket;
  const program = apiSocket === undefined ? findProgram(config.vpp ?? "vpp", env) : undefined;
  const socketPath = apiSocket ?? join(stateDir, "vpp", "stats.sock");
  if (Buffer.byteLength(socketPath) > maxSocketBytes) {
    const text = `data plane vpp: the path of VPP's socket has more than ${maxSocketBytes} bytes: ${socketPath}; set WEFT_STATE_DIR to a shorter one`;
    throw statusError(Code.FAILED_PRECONDITION, text);
  }
  const folders = config.vppApiFiles === undefined ? apiFolders(program ?? "/usr/bin/vpp") : [config.vppApiFiles];
  const found = readApiFolders(folders);
  const { LD_LIBRARY_PATH: libraries, PATH: path = "/usr/sbin:/usr/bin:/sbin:/bin" } = env;
  return createVppDataPlane({
    stateDir,
    log,
    beneath,
    command: program === undefined ? undefined : [program],
    apiSocket,
    definitions: found && flatten(found),
    directMemif: config.directMemif ?? true,
    processEnv: { ...processEnv, PATH: path, ...(libraries === undefined ? {} : { LD_LIBRARY_PATH: libraries }) },
    sizes: { ...defaultSizes, heapMebibytes: config.vppHeapMebibytes ?? defaultSizes.heapMebibytes },
  });
}

/** @throws FAILED_PRECONDITION it is not there */
function findProgram(name: string, { PATH: path = "" }: Readonly<Record<string, string | undefined>>): string {
  const candidates = name.includes("/") ? [name] : path.split(delimiter).map((folder) => join(folder, name));
  const found = candidates.find((each) => existsSync(each));
  if (found !== undefined) return found;
  const text = `data plane vpp: there is no program ${name}; install VPP (docs/vpp.md), name it by WEFT_VPP, or give the API socket of a running one by WEFT_VPP_API_SOCKET`;
  throw statusError(Code.FAILED_PRECONDITION, text);
}
