#!/usr/bin/env node
// Size gate: at most 300 lines a file and 60 lines a function; generated code is exempt.
// Prints each offender as FILE:LINE and exits 1.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const maxFileLines = 300;
const maxFunctionLines = 60;
const top = fileURLToPath(new URL("..", import.meta.url));
const files = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard", "*.ts", "*.mjs", "*.c", "*.h"], {
  cwd: top,
  encoding: "utf8",
})
  .split("\n")
  .filter((file) => file !== "" && !file.startsWith("sdk/gen/"));

const offenders = [];
for (const file of files) {
  let lines;
  try {
    lines = readFileSync(`${top}/${file}`, "utf8").split("\n");
  } catch {
    continue; // listed, and removed since
  }
  if (lines.at(-1) === "") lines.pop();
  if (lines.length > maxFileLines) offenders.push(`${file}:1 has ${lines.length} lines (at most ${maxFileLines})`);
  if (file.endsWith(".test.ts")) continue; // a table of cases may be long
  for (const found of longFunctions(lines))
    offenders.push(`${file}:${found.line} function of ${found.length} lines (at most ${maxFunctionLines})`);
}
for (const offender of offenders) console.error(offender);
console.log(`${files.length} files, ${offenders.length} over the size gate`);
process.exit(offenders.length === 0 ? 0 : 1);

/**
 * The formatter puts the opening brace at the end of a function's first line and its closing brace alone at the same
 * indentation, so a function's length can be read from the indentation. A factory function (one that only holds other
 * functions and returns them) is counted without the functions inside it.
 */
function* longFunctions(lines) {
  const open = [];
  for (const [index, line] of lines.entries()) {
    const indent = line.length - line.trimStart().length;
    const top = open.at(-1);
    if (top !== undefined && indent === top.indent && /^[})]/.test(line.trimStart())) {
      open.pop();
      const length = index - top.start + 1;
      const own = length - top.inner;
      const outer = open.at(-1);
      if (outer !== undefined) outer.inner += length;
      if (own > maxFunctionLines) yield { line: top.start + 1, length: own };
    }
    const isFunction =
      /(\bfunction\b.*|=> |^\s*(async )?(\*\s*)?[a-zA-Z]\w*\(.*\).*)\{$/.test(line) &&
      !/^\s*(if|for|while|switch|return|else|\} else|test|describe|await)\b/.test(line);
    if (isFunction) open.push({ indent, start: index, inner: 0 });
  }
}
