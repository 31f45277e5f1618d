// docs/interop.md from what a run has shown.

const head = `# Weft and Network Service Mesh of Go, together

This page is written by \`npm run test:interop -- --write-docs\` from what ran. Each row of a table is a mesh of five
processes on one node (client, node manager, forwarder, endpoint, registry), started for the run; each column is a test that
goes on with the connection of the one before. The parts of Go are made of the public chains of the published modules, as
the upstream commands are (\`test/interop/go\`); its forwarder negotiates as the published ones do and moves no packet. The
parts of Weft run without a data plane too: packets between the two are not the subject here.

## Limits

- Over TCP no descriptor passes. Behind a manager of Go a client of Weft then asks for the mechanism NOOP, because that
  manager would await the descriptor of the namespace until the request ends.
- Below the log level info the clients of the Go SDK v1.18.0 drop their call options (\`pkg/networkservice/core/trace\`):
  no descriptors are passed and policies see no certificate. The suite runs them at info.
- Not in the suite: interdomain, and packets between a forwarder of Go and one of Weft.
`;

const explained = {
  plain: "plain text; the parts of Go send test tokens and have no policies, those of Weft run with `--insecure`",
  mtls: "mutual TLS with identities from one Workload API, path tokens, and the default policies on both sides",
  tcp: "all parts over TCP",
  unix: "client, endpoint and forwarder reach the manager over unix sockets, with descriptors as upstream passes them",
};

export function render(results, beside, rows, versions) {
  const lines = [head, "## Versions", ""];
  lines.push("| module | version |", "|---|---|");
  for (const [name, version] of Object.entries(versions)) lines.push(`| ${name} | ${version} |`);
  lines.push("", "## Tests", "", "| test | what it shows |", "|---|---|");
  for (const { name, shows } of rows) lines.push(`| ${name} | ${shows} |`);
  lines.push("", "## Results", "", "✔ passed, ✖ failed, – not run (see the notes below the table).");
  for (const variant of unique(results.map(({ variant }) => `${variant.security}+${variant.transport}`))) {
    const [security, transport] = variant.split("+");
    const own = results.filter((result) => `${result.variant.security}+${result.variant.transport}` === variant);
    lines.push("", `### ${security === "mtls" ? "mTLS, tokens, policies" : "Plain"}, ${transport}`, "");
    lines.push(`${sentence(explained[security])} ${sentence(explained[transport])}`, "", ...table(own, rows));
  }
  for (const chapter of unique(beside.map(({ chapter }) => chapter))) {
    const own = beside.filter((result) => result.chapter === chapter);
    lines.push("", `## ${sentence(chapter).slice(0, -1)}`, "", own[0].shows, "", "| test | |", "|---|---|");
    for (const { name, outcome } of own) lines.push(`| ${name} | ${outcome === "passed" ? "✔" : "✖"} |`);
  }
  return `${lines.join("\n")}\n`;
}

function table(results, rows) {
  const setups = unique(results.map(({ setup }) => setup));
  const notes = unique(results.flatMap(({ reason }) => (reason === undefined ? [] : [reason])));
  const lines = [`| mesh | ${rows.map(({ name }) => name).join(" | ")} |`, `|---|${rows.map(() => "---").join("|")}|`];
  for (const setup of setups) {
    const cells = rows.map(({ name }) =>
      cell(
        results.find((result) => result.setup === setup && result.row === name),
        notes,
      ),
    );
    lines.push(`| ${setup} | ${cells.join(" | ")} |`);
  }
  if (notes.length > 0) lines.push("", ...notes.map((note, index) => `${index + 1}. ${note}`));
  return lines;
}

function cell(result, notes) {
  if (result === undefined) return "";
  if (result.outcome === "skipped") return `– (${notes.indexOf(result.reason) + 1})`;
  return result.outcome === "passed" ? "✔" : "✖";
}

const unique = (list) => [...new Set(list)];
const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}.`;
