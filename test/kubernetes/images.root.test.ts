/** The images that are packed without an engine: unpacked again, each starts in a root of its own. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

interface Image {
  readonly name: string;
  readonly user: string;
  readonly programs: readonly string[];
}
interface Manifest {
  readonly config: { readonly digest: string };
  readonly layers: readonly { readonly digest: string }[];
}
interface Config {
  readonly config: { readonly User?: string; readonly Entrypoint: readonly [string, ...string[]] };
}

const top = fileURLToPath(new URL("../..", import.meta.url));
const { images } = (await import(new URL("../../deploy/images/images.mjs", import.meta.url).href)) as {
  images: readonly Image[];
};

test("rows 9.11, 8.6: each image has a Dockerfile for all platforms that runs as the same user", () => {
  for (const { name, user, programs } of images) {
    const text = readFileSync(join(top, "deploy/images", name, "Dockerfile"), "utf8");
    assert.match(text, /--platform=\$BUILDPLATFORM/, name);
    assert.match(text, new RegExp(`bundle\\.mjs ${name} /out`), name);
    assert.equal(/^USER (\S+)$/m.exec(text)?.[1] ?? "", user, `user of ${name}`);
    if (programs.length === 0) assert.match(text, /distroless/, `${name} needs no shell`);
  }
});

test("packing: equal sources give equal bytes, and every image starts", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "weft-pack-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const pack = (out: string, ...more: string[]): void =>
    void execFileSync(process.execPath, ["deploy/images/pack.mjs", "--out", join(folder, out), "--tag", "test", ...more], {
      cwd: top,
      stdio: "pipe",
    });
  pack("all");
  pack("again", "--only", "client");
  const layout = unpack(join(folder, "all/weft-images.tar"), join(folder, "layout"));
  const again = unpack(join(folder, "again/weft-images.tar"), join(folder, "again-layout"));
  const digests = new Map(layout.map(({ name, digest }) => [name, digest]));
  assert.equal(digests.get("client"), again[0]?.digest, "the client's manifest");
  assert.deepEqual([...digests.keys()].sort(), images.map(({ name }) => name).sort());
  for (const { name, user } of images) {
    await t.test(name, () => starts(join(folder, "layout"), digests.get(name) ?? "", user, join(folder, `root-${name}`)));
  }
});

/** Unpacks an archive; every blob must be what its name says. */
function unpack(archive: string, folder: string): { name: string; digest: string }[] {
  mkdirSync(folder);
  execFileSync("tar", ["-C", folder, "-xf", archive]);
  const index = JSON.parse(readFileSync(join(folder, "index.json"), "utf8")) as {
    manifests: { digest: string; annotations: Record<string, string> }[];
  };
  return index.manifests.map(({ digest, annotations }) => {
    const name = annotations["io.containerd.image.name"] ?? "";
    return { name: /\/([^/:]+):test$/.exec(name)?.[1] ?? name, digest };
  });
}

function starts(layout: string, digest: string, user: string, root: string): void {
  const manifest = JSON.parse(blob(layout, digest).toString()) as Manifest;
  const { config } = JSON.parse(blob(layout, manifest.config.digest).toString()) as Config;
  assert.equal(config.User ?? "", user);
  mkdirSync(root);
  for (const layer of manifest.layers) execFileSync("tar", ["-C", root, "-xf", "-"], { input: blob(layout, layer.digest) });
  assert.ok(existsSync(join(root, "app/package.json")));
  const [program, ...args] = config.Entrypoint;
  const { status, stdout, stderr } = spawnSync(
    "chroot",
    [`--userspec=${user === "" ? "0:0" : user}`, root, program, ...args, "--help"],
    {
      encoding: "utf8",
      env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" },
    },
  );
  assert.equal(status, 0, stderr);
  assert.match(stdout, /Usage: weft/);
  rmSync(root, { recursive: true });
}

function blob(layout: string, digest: string): Buffer {
  const data = readFileSync(join(layout, "blobs", digest.replace(":", "/")));
  assert.equal(`sha256:${createHash("sha256").update(data).digest("hex")}`, digest);
  return data;
}
