// The simulation as one file: the shipped code, but for the border to the kernel, which is modelled, for observers around what
// cannot be seen from outside, and for one planted mistake if there is one. A bundle starts in a third of a second; the sources
// through a loader take five times as long, which counts when there is a process for every mutant.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";

const top = fileURLToPath(new URL("../../", import.meta.url));
const require = createRequire(import.meta.url);
/** What takes whose place. Who does so may import what it stands for, to observe it. */
const border = new Map([
  ["sdk/linux/netns.ts", "model-netns.ts"],
  ["sdk/linux/find-netns.ts", "model-netns.ts"],
  ["sdk/config/follow-file.ts", "model-follow-file.ts"],
  ["sdk/endpoint/ipam/point-to-point.ts", "observe-ipam.ts"],
  ["forwarder/vni.ts", "model-vni.ts"],
  ["sdk/client/beat.ts", "model-beat.ts"],
]);
/** Native code is not bundled, and hardly loaded. */
const native = /^(koffi|lmdb|@kubernetes\/client-node)$/;

/**
 * @param mutant   of mutants.json; undefined = the code as it is
 * @param outfile  where it goes, beside nothing else of that name
 */
export async function bundle(mutant, outfile) {
  await build({
    entryPoints: [`${top}test/simulation/worker.ts`],
    outfile,
    bundle: true,
    format: "esm",
    platform: "node",
    target: "node20",
    absWorkingDir: top,
    logLevel: "silent",
    banner: { js: 'import { createRequire as nodeRequire } from "node:module"; const require = nodeRequire(import.meta.url);' },
    plugins: [atTheBorder, ...(mutant === undefined ? [] : [planted(mutant)])],
  });
}

const atTheBorder = {
  name: "at the border",
  setup({ onResolve, resolve }) {
    onResolve({ filter: native }, ({ path }) => ({ path: pathToFileURL(require.resolve(path)).href, external: true }));
    onResolve({ filter: /^\./ }, async ({ path, resolveDir, importer, kind, pluginData }) => {
      if (pluginData === "resolved") return undefined;
      const found = await resolve(path, { resolveDir, kind, importer, pluginData: "resolved" });
      const stands = border.get(found.path.slice(top.length));
      const model = stands && `${top}test/simulation/${stands}`;
      return model === undefined || importer === model ? found : { path: model };
    });
  },
};

function planted({ name, file, from, to }) {
  return {
    name: "planted mistake",
    setup({ onLoad }) {
      onLoad({ filter: /\.ts$/ }, ({ path }) => {
        if (path !== `${top}${file}`) return undefined;
        const source = readFileSync(path, "utf8");
        if (source.split(from).length !== 2) throw new Error(`mutant "${name}": the text is not once in ${file}`);
        return { contents: source.replace(from, () => to), loader: "ts" };
      });
    },
  };
}
