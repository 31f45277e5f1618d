#!/usr/bin/env node
// npm run images: packs the images of Weft without an engine, as one OCI archive, for the platform it runs on.
//   --out FOLDER          where to (default dist/images): weft-images.tar, and the chart when helm is here
//   --only NAME,…         only these (images.mjs)
//   --tag TAG             default: the version of package.json
//   --compress            gzip the layers
//   --load containerd[:SOCKET]   import into the namespace k8s.io of a containerd
//   --load kind[:CLUSTER]        load into the nodes of a KinD cluster
// The base is this machine's node with its libraries. Published images are built for all platforms with the Dockerfiles.
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { bundle } from "./bundle.mjs";
import { imageOf, images, repository } from "./images.mjs";
import { layerOf, ociArchive } from "./oci.mjs";
import { entriesOf, parentsOf, tar } from "./tar.mjs";

const top = fileURLToPath(new URL("../..", import.meta.url));
const { version } = JSON.parse(readFileSync(join(top, "package.json"), "utf8"));
const { values: options } = parseArgs({
  options: {
    out: { type: "string", default: join(top, "dist", "images") },
    only: { type: "string" },
    tag: { type: "string", default: version },
    compress: { type: "boolean", default: false },
    load: { type: "string", multiple: true, default: [] },
  },
});

// without a compiler it says so, and memif is left out
execFileSync(process.execPath, [join(top, "scripts", "build-native.mjs")], { stdio: "inherit" });
const chosen = options.only === undefined ? images : options.only.split(",").map(imageOf);
mkdirSync(options.out, { recursive: true });
const archive = join(options.out, "weft-images.tar");
writeFileSync(archive, ociArchive(await pack(chosen)));
console.log(`${archive}: ${chosen.length} images, ${Math.round(readFileSync(archive).length / 1e6)} MB`);
packageChart();
for (const target of options.load) load(target);

async function pack(list) {
  const base = layerOf(tar(system([process.execPath])), options.compress);
  const scratch = mkdtempSync(join(tmpdir(), "weft-images-"));
  const made = [];
  try {
    for (const image of list) {
      const folder = join(scratch, image.name);
      await bundle(image, folder);
      const layers = [base];
      const programs = image.programs.map(find).filter((path) => path !== undefined);
      if (programs.length > 0) layers.push(layerOf(tar(system(programs)), options.compress));
      layers.push(layerOf(tar(entriesOf(folder, "app")), options.compress));
      made.push(describe(image, layers));
    }
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
  return made;
}

function describe(image, layers) {
  return {
    reference: `${repository}/${image.name}:${options.tag}`,
    architecture: { x64: "amd64" }[process.arch] ?? process.arch,
    layers,
    config: {
      ...(image.user === "" ? {} : { User: image.user }),
      Env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "NODE_ENV=production", "HOME=/tmp"],
      Entrypoint: ["/usr/bin/node", "--enable-source-maps=false", "/app/main.mjs"],
      WorkingDir: "/",
    },
    annotations: { "org.opencontainers.image.title": `weft ${image.name}`, "org.opencontainers.image.version": version },
  };
}

/** Programs in /usr/bin with the libraries they are linked to, and what every process expects of a system. */
function system(programs) {
  const entries = new Map();
  const add = (entry) => {
    for (const parent of parentsOf(entry.path)) if (!entries.has(parent.path)) entries.set(parent.path, parent);
    entries.set(entry.path, entry);
  };
  for (const program of programs) {
    add({ path: `usr/bin/${program.split("/").at(-1)}`, mode: 0o755, data: readFileSync(realpathSync(program)) });
    for (const library of librariesOf(program)) {
      add({ path: library.slice(1), mode: 0o755, data: readFileSync(realpathSync(library)) });
    }
  }
  add({ path: "tmp", mode: 0o1777 });
  add({ path: "etc/passwd", mode: 0o644, data: Buffer.from("root:x:0:0::/:/\nweft:x:65532:65532::/tmp:/\n") });
  add({ path: "etc/group", mode: 0o644, data: Buffer.from("root:x:0:\nweft:x:65532:\n") });
  add({ path: "etc/nsswitch.conf", mode: 0o644, data: Buffer.from("hosts: files dns\n") });
  return entries.values();
}

function librariesOf(program) {
  const { stdout } = spawnSync("ldd", [program], { encoding: "utf8" });
  return [...(stdout ?? "").matchAll(/(\/\S+) \(0x/g)].map((found) => found[1] ?? "");
}

/** Undefined where this machine has not got it; the component says what it lacks. */
function find(program) {
  const folders = ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/bin", "/usr/local/sbin"];
  const found = folders.map((folder) => join(folder, program)).find((path) => existsSync(path));
  if (found === undefined) console.warn(`${program} is not on this machine: its image is packed without it`);
  return found;
}

function packageChart() {
  const chart = join(top, "deploy", "helm", "weft");
  if (!existsSync(chart) || spawnSync("helm", ["version"], { stdio: "ignore" }).status !== 0) {
    console.log("the chart is not packaged: helm is not in PATH");
    return;
  }
  const text = execFileSync("helm", ["package", chart, "--destination", options.out, "--app-version", options.tag], {
    encoding: "utf8",
  });
  console.log(text.trim());
}

function load(target) {
  const [kind, name = ""] = target.split(/:(.*)/s);
  if (kind === "containerd") {
    const address = name === "" ? [] : ["--address", name];
    execFileSync("ctr", [...address, "--namespace", "k8s.io", "images", "import", archive], { stdio: "inherit" });
  } else if (kind === "kind") {
    execFileSync("kind", ["load", "image-archive", archive, ...(name === "" ? [] : ["--name", name])], { stdio: "inherit" });
  } else {
    throw new Error(`--load ${target}: containerd[:SOCKET] or kind[:CLUSTER]`);
  }
}
