/** Starting the supervisor in the background and following it until the mesh is there. */
import { spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync } from "node:fs";
import { Code, statusError } from "../../sdk/status.js";
import { logFileOf, logFolder } from "./plan.js";
import { lastLogLines } from "./ready.js";
import { runningMesh } from "./state.js";
import type { Progress } from "./supervise.js";

/**
 * @param options.onStep  told of each step done
 * @throws what the supervisor failed with; nothing of the mesh is left then
 */
export async function launchMesh(options: {
  readonly nodes: number;
  readonly self: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
  readonly onStep: (text: string) => void;
}): Promise<void> {
  const running = runningMesh();
  if (running !== undefined) {
    const found = `a mesh of ${running.nodes.length} nodes is running (pid ${running.pid})`;
    throw statusError(Code.ALREADY_EXISTS, `${found}; take it down with \`weft down\``);
  }
  makeLogFolder();
  const log = openSync(logFileOf("supervisor"), "w");
  const [command = "", ...first] = options.self;
  const child = spawn(command, [...first, "supervise", "--nodes", String(options.nodes)], {
    env: options.env,
    detached: true,
    stdio: ["ignore", log, log, "ipc"],
  });
  closeSync(log);
  const abort = (): void => void child.kill("SIGTERM");
  options.signal.addEventListener("abort", abort);
  try {
    await new Promise<void>((resolve, reject) => {
      child.on("message", (message) => {
        const progress = message as Progress;
        if (progress.kind === "step") options.onStep(progress.text);
        else if (progress.kind === "ready") resolve();
        else reject(statusError(progress.code as Code, progress.text));
      });
      child.once("error", reject);
      child.once("exit", (code, signal) =>
        reject(
          statusError(
            Code.UNAVAILABLE,
            `the supervisor ended with ${signal ?? `exit code ${code}`}${lastLogLines("supervisor")}`,
          ),
        ),
      );
    });
  } finally {
    options.signal.removeEventListener("abort", abort);
    // it goes on without us
    if (child.connected) child.disconnect();
    child.removeAllListeners();
    child.unref();
  }
}

function makeLogFolder(): void {
  try {
    mkdirSync(logFolder, { recursive: true, mode: 0o755 });
  } catch (error) {
    throw statusError(
      Code.PERMISSION_DENIED,
      `${logFolder} cannot be made by this user; run it with sudo, or run \`weft demo\`, which needs no root`,
      error,
    );
  }
}
