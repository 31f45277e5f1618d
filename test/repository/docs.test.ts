/** The documents point at files that exist, and the walls between the folders stand. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { basename } from "node:path";
import { test } from "node:test";
import { top, trackedFiles } from "./tracked-files.js";

for (const page of trackedFiles((path) => path === "README.md" || (path.startsWith("docs/") && path.endsWith(".md")))) {
  test(`${page.slice(top.length)} names only paths that exist`, () => {
    const text = readFileSync(page, "utf8");
    const named = [...text.matchAll(/`((?:[\w.-]+\/)+[\w.-]*\.(?:ts|md|mjs|sh|json|proto|yaml))`/g)].map(
      ([, path]) => path ?? "",
    );
    const folder = page.slice(0, page.length - basename(page).length);
    const linked = [...text.matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g)].map(([, path]) => folder + path);
    const missing = [...named.map((path) => top + path), ...linked].filter((path) => !existsSync(path));
    assert.deepEqual(missing, []);
  });
}

test("the npm scripts that the README names exist", () => {
  const { scripts } = JSON.parse(readFileSync(`${top}package.json`, "utf8")) as { scripts: Record<string, string> };
  const named = [...readFileSync(`${top}README.md`, "utf8").matchAll(/npm run ([\w:-]+)/g)].map(([, name]) => name ?? "");
  assert.deepEqual(
    named.filter((name) => scripts[name] === undefined),
    [],
  );
});

test("components do not import each other, and the SDK imports none of them", () => {
  const walls: Record<string, RegExp> = {
    sdk: /from "(?:\.\.\/)+(?:registry|nsmgr|forwarder|cli|apps|testing|test|bench)\//,
    registry: /from "(?:\.\.\/)+(?:nsmgr|forwarder|cli|apps|testing|test|bench)\//,
    nsmgr: /from "(?:\.\.\/)+(?:registry|forwarder|cli|apps|testing|test|bench)\//,
    forwarder: /from "(?:\.\.\/)+(?:nsmgr|cli|apps|testing|test|bench)\//,
    apps: /from "(?:\.\.\/)+(?:nsmgr|forwarder|cli|testing|test|bench)\//,
  };
  const broken: string[] = [];
  for (const [folder, wall] of Object.entries(walls)) {
    for (const file of trackedFiles(
      (path) => path.startsWith(`${folder}/`) && path.endsWith(".ts") && !path.endsWith(".test.ts"),
    )) {
      // sdk/registry is a folder of the SDK: only paths that leave the top folder count.
      const depth = file.slice(top.length).split("/").length - 1;
      for (const line of readFileSync(file, "utf8").split("\n")) {
        const up = line.match(/from "((?:\.\.\/)+)/)?.[1]?.split("../").length ?? 0;
        if (wall.test(line) && up - 1 >= depth) broken.push(`${file.slice(top.length)}: ${line}`);
      }
    }
  }
  assert.deepEqual(broken, []);
});
