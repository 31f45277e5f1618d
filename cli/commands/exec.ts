/** weft exec: runs a program inside the network namespace of a pod or node. */
import { once } from "node:events";
import { constants } from "node:os";
import { openNetns, spawnInNetns } from "../../sdk/linux/netns.js";
import { Code, statusError } from "../../sdk/status.js";
import type { CliContext } from "../context.js";
import { requireMesh } from "../mesh/state.js";

/** @returns the program's exit code; 128 + its signal's number as shells do */
export async function exec(place: string, command: readonly string[], context: CliContext): Promise<number> {
  const [program = "", ...args] = command[0] === "--" ? command.slice(1) : command;
  const netns = openNetns(placeNetns(place));
  const child = spawnInNetns(netns, program, args, { stdio: "inherit", env: context.env });
  netns.close();
  try {
    const [code, signal] = (await once(child, "exit")) as [number | null, NodeJS.Signals | null];
    return code ?? 128 + (signal === null ? 0 : constants.signals[signal]);
  } catch (error) {
    const { code } = error as { code?: unknown };
    // EACCES is also what a search of PATH ends with when a folder in it may not be read.
    if (code === "EACCES" && program.includes("/"))
      throw statusError(Code.PERMISSION_DENIED, `${program} may not be executed`, error);
    if (code !== "ENOENT" && code !== "EACCES") throw error;
    throw statusError(Code.NOT_FOUND, `program "${program}" is not on this machine`, error);
  }
}

/** The namespace of a pod or node of the local mesh. */
export function placeNetns(name: string): string {
  const mesh = requireMesh();
  const places = [...mesh.pods, ...mesh.nodes];
  const found = places.find((place) => place.name === name || place.netns === name);
  if (found !== undefined) return found.netns;
  throw statusError(Code.NOT_FOUND, `no pod or node "${name}"; there are ${places.map((place) => place.name).join(", ")}`);
}
