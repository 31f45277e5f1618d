// An OCI image layout in one archive, with several images that share layers. Read by `ctr images import`,
// `kind load image-archive`, podman, skopeo and docker ≥ 25.
import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import { tar } from "./tar.mjs";

/** A layer from tar bytes; `compress` makes it smaller for the network and slower to make. */
export function layerOf(bytes, compress = false) {
  const data = compress ? gzipSync(bytes, { level: 9 }) : bytes;
  const mediaType = `application/vnd.oci.image.layer.v1.tar${compress ? "+gzip" : ""}`;
  return { data, diffId: digestOf(bytes), descriptor: { mediaType, digest: digestOf(data), size: data.length } };
}

/**
 * @param images  {reference, architecture, layers, config}: `config` is the OCI run configuration (User, Entrypoint, Env …)
 * @returns the archive's bytes
 */
export function ociArchive(images) {
  const blobs = new Map();
  const put = (data, mediaType) => {
    const digest = digestOf(data);
    blobs.set(digest, data);
    return { mediaType, digest, size: data.length };
  };
  const manifests = images.map(({ reference, architecture, layers, config, annotations = {} }) => {
    for (const layer of layers) blobs.set(layer.descriptor.digest, layer.data);
    const about = {
      created: "1970-01-01T00:00:00Z",
      architecture,
      os: "linux",
      config,
      rootfs: { type: "layers", diff_ids: layers.map(({ diffId }) => diffId) },
    };
    const manifest = {
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      config: put(json(about), "application/vnd.oci.image.config.v1+json"),
      layers: layers.map(({ descriptor }) => descriptor),
      annotations,
    };
    const described = put(json(manifest), manifest.mediaType);
    const tag = reference.slice(reference.lastIndexOf(":") + 1);
    return {
      ...described,
      platform: { architecture, os: "linux" },
      annotations: { "io.containerd.image.name": reference, "org.opencontainers.image.ref.name": tag },
    };
  });
  const index = { schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json", manifests };
  return tar([
    { path: "blobs", mode: 0o755 },
    { path: "blobs/sha256", mode: 0o755 },
    ...[...blobs].map(([digest, data]) => ({ path: `blobs/${digest.replace(":", "/")}`, mode: 0o644, data })),
    { path: "index.json", mode: 0o644, data: json(index) },
    { path: "oci-layout", mode: 0o644, data: json({ imageLayoutVersion: "1.0.0" }) },
  ]);
}

function json(value) {
  return Buffer.from(JSON.stringify(value));
}

function digestOf(data) {
  return `sha256:${createHash("sha256").update(data).digest("hex")}`;
}
