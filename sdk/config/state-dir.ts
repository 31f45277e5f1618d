/** Where a component keeps its state (ledger, store). */
import { accessSync, constants, mkdirSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { Code, statusError } from "../status.js";

/**
 * Chooses and makes the state directory: the configured one; else /var/lib/weft/NAME if it can be written;
 * else $XDG_STATE_HOME/weft/NAME (~/.local/state by default, XDG base directory specification).
 * @throws FAILED_PRECONDITION when none can be written
 */
export function resolveStateDir(
  configured: string | undefined,
  name: string,
  env: Readonly<Record<string, string | undefined>>,
): string {
  const safeName = name.replace(/[^A-Za-z0-9._-]/g, "_").replace(/^\.+$/, "_");
  const xdg = env["XDG_STATE_HOME"] || join(env["HOME"] || homedir(), ".local", "state");
  const candidates = configured ? [configured] : [join("/var/lib/weft", safeName), join(xdg, "weft", safeName)];
  const refusals: string[] = [];
  for (const candidate of candidates) {
    try {
      mkdirSync(candidate, { recursive: true, mode: 0o750 });
      accessSync(candidate, constants.W_OK);
      return candidate;
    } catch (error) {
      refusals.push(error instanceof Error ? error.message : String(error));
    }
  }
  throw statusError(
    Code.FAILED_PRECONDITION,
    `no state directory can be written (${refusals.join("; ")}); set WEFT_STATE_DIR to a writable one`,
  );
}
