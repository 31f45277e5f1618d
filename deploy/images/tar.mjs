// A tar archive (POSIX ustar, with a pax header for long names) in memory; equal entries give equal bytes.
import { readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { join } from "node:path";

const block = 512;

/**
 * @param entries  {path, mode, data} for a file, {path, mode} for a folder, {path, link} for a symbolic link; paths are
 *                 relative and without "..". Owner is root, or `owner` (uid and gid); time is 0.
 */
export function tar(entries) {
  const parts = [];
  for (const entry of [...entries].sort((a, b) => (a.path < b.path ? -1 : 1))) {
    if (Buffer.byteLength(entry.path) > 99) {
      const record = paxRecord("path", entry.path);
      parts.push(header({ path: "pax", mode: 0o644, type: "x", size: record.length, owner: 0 }), pad(record));
    }
    const type = entry.link !== undefined ? "2" : entry.data === undefined ? "5" : "0";
    const path = Buffer.from(entry.path).subarray(0, 99).toString();
    parts.push(
      header({ path, mode: entry.mode ?? 0o777, type, size: entry.data?.length ?? 0, link: entry.link, owner: entry.owner ?? 0 }),
    );
    if (entry.data !== undefined) parts.push(pad(entry.data));
  }
  parts.push(Buffer.alloc(2 * block));
  return Buffer.concat(parts);
}

/** All below a folder of this machine, as entries below `prefix`, with the folders above it. */
export function entriesOf(folder, prefix) {
  const entries = parentsOf(`${prefix}/x`);
  const walk = (from, to) => {
    for (const found of readdirSync(from, { withFileTypes: true })) {
      const path = join(from, found.name);
      const inside = `${to}/${found.name}`;
      if (found.isDirectory()) {
        entries.push({ path: inside, mode: 0o755 });
        walk(path, inside);
      } else if (found.isSymbolicLink()) {
        entries.push({ path: inside, link: readlinkSync(path) });
      } else {
        entries.push({ path: inside, mode: statSync(path).mode & 0o111 ? 0o755 : 0o644, data: readFileSync(path) });
      }
    }
  };
  walk(folder, prefix);
  return entries;
}

/** The folders above a path. */
export function parentsOf(path) {
  const names = path.split("/").slice(0, -1);
  return names.map((_, index) => ({ path: names.slice(0, index + 1).join("/"), mode: 0o755 }));
}

function header({ path, mode, type, size, link = "", owner }) {
  const bytes = Buffer.alloc(block);
  bytes.write(path, 0);
  bytes.write(octal(mode, 7), 100);
  bytes.write(octal(owner, 7), 108);
  bytes.write(octal(owner, 7), 116);
  bytes.write(octal(size, 11), 124);
  bytes.write(octal(0, 11), 136);
  bytes.write(" ".repeat(8), 148);
  bytes.write(type, 156);
  bytes.write(link, 157);
  bytes.write("ustar\u000000", 257);
  const sum = bytes.reduce((total, byte) => total + byte, 0);
  bytes.write(`${octal(sum, 6)}\u0000 `, 148);
  return bytes;
}

function octal(value, digits) {
  return value.toString(8).padStart(digits, "0");
}

function pad(data) {
  const rest = data.length % block;
  return rest === 0 ? data : Buffer.concat([data, Buffer.alloc(block - rest)]);
}

/** "LENGTH key=value\n", where LENGTH counts itself. */
function paxRecord(key, value) {
  const body = ` ${key}=${value}\n`;
  const bare = Buffer.byteLength(body);
  let length = bare + String(bare).length;
  length = bare + String(length).length;
  return Buffer.from(`${length}${body}`);
}
