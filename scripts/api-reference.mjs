#!/usr/bin/env node
// The reference of @weft/sdk, from its types and docstrings: docs/sdk-reference.md.
//   api-reference.mjs            writes it
//   api-reference.mjs --check    exits 1 when it is out of date, or something public has no docstring
// TypeScript's own API is used in the last version that has one ("typescript-api" in package.json).
import { readFileSync, writeFileSync } from "node:fs";
import { relative } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript-api";

const top = fileURLToPath(new URL("..", import.meta.url));
const entry = `${top}sdk/entry.ts`;
const page = `${top}docs/sdk-reference.md`;
const program = ts.createProgram([entry], {
  target: ts.ScriptTarget.ES2023,
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  strict: true,
  noEmit: true,
  types: ["node"],
});
const checker = program.getTypeChecker();
const source = program.getSourceFile(entry);
const undocumented = [];

const sections = checker
  .getExportsOfModule(checker.getSymbolAtLocation(source))
  .map((symbol) => (symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol))
  .map((symbol) => ({ symbol, declaration: symbol.declarations?.[0] }))
  .filter(({ declaration }) => declaration !== undefined)
  .map(({ symbol, declaration }) => ({ order: orderOf(symbol), text: section(symbol, declaration), name: symbol.name }))
  .sort((a, b) => a.order - b.order || (a.name < b.name ? -1 : 1));

const text = `# Reference of @weft/sdk

Written by \`node scripts/api-reference.mjs\` from the types and their docstrings; do not edit. How to begin:
[first-network-function.md](first-network-function.md), [write-an-endpoint.md](write-an-endpoint.md).

${sections.map((each) => each.text).join("\n")}`;

if (process.argv.includes("--check")) {
  for (const name of undocumented) console.error(`${name} has no docstring`);
  const stale = readFileSync(page, "utf8") !== text;
  if (stale) console.error("docs/sdk-reference.md is out of date: node scripts/api-reference.mjs");
  process.exit(stale || undocumented.length > 0 ? 1 : 0);
}
writeFileSync(page, text);
console.log(`${sections.length} symbols, ${undocumented.length} without a docstring`);

/** Functions first: they are what one calls. */
function orderOf(symbol) {
  return symbol.flags & ts.SymbolFlags.Function ? 0 : symbol.flags & ts.SymbolFlags.Variable ? 2 : 1;
}

function section(symbol, declaration) {
  const file = relative(top, declaration.getSourceFile().fileName);
  const generated = file.startsWith("sdk/gen/");
  const docs = docsOf(symbol);
  if (docs === "" && !generated) undocumented.push(symbol.name);
  const head = `## ${symbol.name}\n\n${docs || `A message of the wire API ([proto](../proto)).`}\n\nIn [${file}](../${file}).\n`;
  if (symbol.flags & ts.SymbolFlags.Function) {
    const type = checker.getTypeOfSymbolAtLocation(symbol, declaration);
    const signatures = type.getCallSignatures().map((signature) => `${symbol.name}${checker.signatureToString(signature)}`);
    return `${head}\n\`\`\`ts\n${signatures.join("\n")}\n\`\`\`\n`;
  }
  const members = generated ? [] : membersOf(symbol, declaration);
  if (members.length === 0) return head;
  return `${head}\n| member | type | what it is |\n|---|---|---|\n${members.join("\n")}\n`;
}

function membersOf(symbol, declaration) {
  if (!ts.isInterfaceDeclaration(declaration)) return [];
  return [...(symbol.members?.values() ?? [])]
    .filter((member) => member.flags & (ts.SymbolFlags.Property | ts.SymbolFlags.Method))
    .map((member) => {
      const [own] = member.declarations ?? [declaration];
      const written = own.type?.getText() ?? checker.typeToString(checker.getTypeOfSymbolAtLocation(member, own));
      const optional = member.flags & ts.SymbolFlags.Optional ? "?" : "";
      const type = ts.isMethodSignature(own)
        ? own
            .getText()
            .replace(/^\w+\??/, "")
            .replace(/;$/, "")
        : written;
      return `| \`${member.name}${optional}\` | ${cell(`\`${type}\``)} | ${cell(docsOf(member))} |`;
    });
}

function docsOf(symbol) {
  const tags = symbol.getJsDocTags(checker).map(({ name, text }) => `*${name}* ${ts.displayPartsToString(text)}`.trim());
  return [ts.displayPartsToString(symbol.getDocumentationComment(checker)), ...tags].filter((part) => part !== "").join("\n\n");
}

function cell(value) {
  return value.replaceAll(/\s*\n\s*/g, " ").replaceAll("|", "\\|");
}
