#!/usr/bin/env node
// Takes out of generated files what only servers of grpc-js need: its type import and the XServer interfaces. The service
// definitions (paths and codecs) stay; without the types a program that uses the SDK needs no grpc-js.
//   strip-service-types.mjs FOLDER
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const folder = process.argv[2] ?? "";
for (const name of readdirSync(folder, { recursive: true })) {
  if (!name.endsWith(".ts") || name.endsWith(".test.ts")) continue;
  const path = join(folder, name);
  const text = readFileSync(path, "utf8");
  const stripped = text
    .replace(/^import type \{[^}]*\} from "@grpc\/grpc-js";\n/gm, "")
    .replace(
      /(?:^\/\*\*(?:(?!\*\/)[\s\S])*\*\/\n)?^export interface \w+ extends UntypedServiceImplementation \{\n[\s\S]*?^\}\n\n?/gm,
      "",
    );
  if (stripped !== text) writeFileSync(path, stripped);
}
