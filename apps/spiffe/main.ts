/** A SPIFFE Workload API for tests and small labs: gives each process of the machine an identity by its user id. */
import { resolveStateDir } from "../../sdk/config/state-dir.js";
import { readSettings, reportUnread } from "../../sdk/config/table.js";
import { openAuthority } from "../../sdk/identity/authority-store.js";
import { parseSpiffeId } from "../../sdk/identity/spiffe-id.js";
import { serveWorkloadApi, type Workload } from "../../sdk/identity/workload-api-server.js";
import { toStatusError } from "../../sdk/status.js";
import { startTelemetry } from "../../sdk/telemetry/telemetry.js";
import { aborted, type RunOptions } from "../run-workload.js";
import { spiffeSettings } from "./config.js";

/**
 * The command `weft spiffe serve`.
 * @returns the exit code
 */
export async function run(options: RunOptions): Promise<number> {
  const [verb, ...argv] = options.argv;
  if (verb !== "serve" && verb !== "--help" && verb !== "-h") {
    process.stderr.write("weft spiffe: the one command is: weft spiffe serve (see weft spiffe serve --help)\n");
    return 2;
  }
  const command = {
    name: "weft spiffe serve",
    summary: "A SPIFFE Workload API for tests and small labs; it attests nothing but user ids.",
  };
  const read = readSettings(command, spiffeSettings, { ...options, argv: verb === "serve" ? argv : options.argv });
  if (!read.ok) return reportUnread(read);
  const { values } = read;
  const telemetry = await startTelemetry({ name: values.name, settings: values });
  const { log } = telemetry;
  try {
    const idOf = ({ uid, gid, pid }: Workload): string => {
      const form = values.pathOfUid[String(uid)] ?? values.path;
      const path = form.replaceAll("{uid}", String(uid)).replaceAll("{gid}", String(gid)).replaceAll("{pid}", String(pid));
      return parseSpiffeId(`spiffe://${values.trustDomain}${path}`).id;
    };
    for (const uid of ["0", ...Object.keys(values.pathOfUid)]) idOf({ uid: Number(uid), gid: 0, pid: 1 });
    const authority = await openAuthority(resolveStateDir(values.stateDir, values.name, options.env), values.trustDomain);
    const server = await serveWorkloadApi({
      url: values.listenOn,
      authority,
      lifetimeMs: values.svidLifetimeMs,
      idOf,
      log,
      signal: new AbortController().signal,
    });
    log.info("the Workload API is ready", { socket: server.url, trustDomain: values.trustDomain });
    await aborted(options.signal);
    await server.close();
    return 0;
  } catch (error) {
    log.error(`the Workload API cannot run: ${toStatusError(error).details}`, { error });
    return 1;
  } finally {
    await telemetry.stop();
  }
}
