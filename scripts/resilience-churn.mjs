// Rows of docs/resilience.md about churn (resilience.mjs): what is left, and what grows.

/** Cycles in which anybody may be killed, and those that spare a node. */
export function churnRows(churns) {
  const all = churns.filter(({ spared }) => !spared);
  return [churnRow(all, "anybody may be killed"), ...churns.filter(({ spared }) => spared).flatMap(soakRows)];
}

function churnRow(churns, what) {
  if (churns.length === 0) return undefined;
  const count = (field) => sum(churns.map((churn) => churn[field].length));
  return [
    `${sum(churns.map(({ cycles }) => cycles))} churn cycles, ${what}: ${sum(churns.map(({ kills }) => kills))} processes killed, and a client in each cycle`,
    String(churns.length),
    `${count("orphans")} orphans, ${count("addressesTwice")} addresses twice`,
    "0",
  ];
}

/** What grows from the end of its warming up to the last cycle, each process in turn. */
function soakRows(churn) {
  const slope = ({ per100, spread }, unit) => `${per100} ± ${spread}${unit}`;
  const rows = churn.growth
    .filter(({ toCycle, fromCycle }) => toCycle - fromCycle >= churn.cycles / 2)
    .map(({ name, fromCycle, toCycle, memoryMiB, heapMiB, descriptors, handles, grows }) => [
      `… ${name}, cycles ${fromCycle} to ${toCycle}: growth per 100 cycles`,
      "1",
      `resident ${slope(memoryMiB, " MiB")} (of ${memoryMiB.last}), heap ${slope(heapMiB, " MiB")} (of ${heapMiB.last}), descriptors ${slope(descriptors, "")}, handles ${slope(handles, "")}${grows.length > 0 ? `: ${grows.join(", ")} GROW` : ""}`,
      "≈ 0",
    ]);
  return [churnRow([churn], `${churn.spared}, its endpoints, one of its clients and the registry spared`), ...rows];
}

function sum(numbers) {
  return numbers.reduce((total, number) => total + number, 0);
}
