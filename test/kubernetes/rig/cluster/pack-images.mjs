#!/usr/bin/env node
// Images of the rig's own, packed without an engine: the sandbox of every pod, and a system for test workloads (busybox,
// whose shell and tools are all that they need; it runs for ever).
//   pack-images.mjs BUSYBOX ARCHIVE
import { readFileSync, writeFileSync } from "node:fs";
import { layerOf, ociArchive } from "../../../../deploy/images/oci.mjs";
import { tar } from "../../../../deploy/images/tar.mjs";

const [busybox, archive] = process.argv.slice(2);
const applets = [
  "sh",
  "sleep",
  "ping",
  "ip",
  "cat",
  "ls",
  "nslookup",
  "wget",
  "nc",
  "echo",
  "grep",
  "ps",
  "kill",
  "true",
  "date",
];
const layer = layerOf(
  tar([
    ...["bin", "dev", "etc", "proc", "sys", "tmp"].map((path) => ({ path, mode: 0o755 })),
    { path: "bin/busybox", mode: 0o755, data: readFileSync(busybox) },
    { path: "etc/passwd", mode: 0o644, data: Buffer.from("root:x:0:0::/:/bin/sh\n") },
    ...applets.map((applet) => ({ path: `bin/${applet}`, link: "busybox" })),
  ]),
);
const images = ["weft.test/pause:1", "weft.test/busybox:1"].map((reference) => ({
  reference,
  architecture: process.arch === "x64" ? "amd64" : process.arch,
  layers: [layer],
  config: { Env: ["PATH=/bin"], Cmd: ["/bin/busybox", "sleep", "2147483647"] },
}));
writeFileSync(archive, ociArchive(images));
