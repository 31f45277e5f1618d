/** The commands of a page of docs/, in order. */
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { findHelm } from "./helm.js";
import { program } from "./rig/programs.js";

const top = fileURLToPath(new URL("../..", import.meta.url));

/** Each block marked `sh`. */
export function commandsOf(page: string): string[] {
  const text = readFileSync(`${top}/${page}`, "utf8");
  return [...text.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map((found) => found[1] ?? "");
}

/**
 * Runs a block as a reader would, in the top folder of the checkout; kubectl and helm are those of the rig.
 * @throws with what it printed, when a command of it fails
 */
export async function runBlock(block: string, kubeconfig: string): Promise<string> {
  const path = [dirname(program("kubectl")), dirname(findHelm() ?? ""), process.env["PATH"] ?? ""].join(":");
  const env = { PATH: path, KUBECONFIG: kubeconfig, HOME: dirname(kubeconfig) };
  const child = spawn("bash", ["-e", "-o", "pipefail", "-s"], { cwd: top, env, stdio: ["pipe", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (output += String(chunk)));
  child.stdin.end(block);
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  if (code !== 0) throw new Error(`ended with ${code}:\n${block}\n${output}`);
  return output;
}
