/** The twelve meshes: one part swapped in a mesh of the other kind, and each kind pure. */
export const parts = ["client", "endpoint", "nsmgr", "forwarder", "registry"] as const;
export type Part = (typeof parts)[number];
export type Kind = "go" | "weft";

export interface Setup {
  readonly name: string;
  readonly kinds: Readonly<Record<Part, Kind>>;
}

const called = { go: "Go", weft: "Weft" } as const;

export const setups: readonly Setup[] = (["go", "weft"] as const).flatMap((mesh) => {
  const other = mesh === "go" ? "weft" : "go";
  return [
    { name: `all ${called[mesh]}`, kinds: kindsOf(() => mesh) },
    ...parts.map((swapped) => ({
      name: `${called[mesh]} mesh, ${swapped} of ${called[other]}`,
      kinds: kindsOf((part) => (part === swapped ? other : mesh)),
    })),
  ];
});

function kindsOf(kindOf: (part: Part) => Kind): Record<Part, Kind> {
  return Object.fromEntries(parts.map((part) => [part, kindOf(part)])) as Record<Part, Kind>;
}
