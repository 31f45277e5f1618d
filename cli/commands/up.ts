/** weft up: starts the supervisor of a local mesh in the background and shows what it does. */
import type { CliContext } from "../context.js";
import { launchMesh } from "../mesh/launch.js";
import { type Progress, supervise } from "../mesh/supervise.js";

export async function up(options: { readonly nodes: number }, context: CliContext): Promise<number> {
  const { env, self, signal, out } = context;
  const startedAt = performance.now();
  await launchMesh({ nodes: options.nodes, self, env, signal, onStep: (text) => out.write(`  ${text}\n`) });
  out.write(`mesh of ${options.nodes} node${options.nodes === 1 ? "" : "s"} is up (${seconds(startedAt)} s). Next:\n`);
  const far = options.nodes > 1 ? "node-2" : "node-1";
  out.write(`  weft serve hello --node ${far} --detach     an endpoint of service "hello"\n`);
  out.write("  weft connect hello --detach               a client of it on node-1\n");
  out.write("  weft get connections -o wide              what was built\n");
  out.write("  weft exec client -- ping -c 3 172.16.0.0  packets (the address is in `weft get connections`)\n");
  out.write("  weft down                                 remove everything\n");
  return 0;
}

/** The hidden command that `up` starts. */
export async function superviseInBackground(options: { readonly nodes: number }, context: CliContext): Promise<number> {
  const { env, self, signal } = context;
  const tell = (progress: Progress): void => {
    // whoever started us may be gone; the mesh stays
    if (process.connected) process.send?.(progress);
  };
  const code = await supervise({ nodes: options.nodes, self, env, signal, tell });
  if (process.connected) process.disconnect();
  return code;
}

function seconds(startedAt: number): string {
  return ((performance.now() - startedAt) / 1000).toFixed(1);
}
