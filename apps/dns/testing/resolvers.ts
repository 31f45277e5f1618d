/** The resolvers that workloads use, each as a program that prints the addresses of a name, sorted, or "none: WHY". */
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { CleanUp } from "../../../sdk/testing/cleanup.js";
import { temporaryFolder } from "../../../sdk/testing/test-server.js";

export interface ResolverProgram {
  readonly name: string;
  /** Why it cannot be had here, and what would help; false = it can. */
  readonly skip: string | false;
  /** Makes the program; gives the command for a name. */
  prepare(t: CleanUp): (name: string) => readonly string[];
}

const inC = `#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <arpa/inet.h>
int main(int n, char **args) {
  struct addrinfo hints, *all, *one;
  memset(&hints, 0, sizeof hints);
  hints.ai_socktype = SOCK_STREAM;
  int error = getaddrinfo(args[1], 0, &hints, &all);
  if (error) return printf("none: %s\\n", gai_strerror(error)), 1;
  for (one = all; one; one = one->ai_next) {
    char text[64];
    void *address = one->ai_family == AF_INET ? (void *)&((struct sockaddr_in *)one->ai_addr)->sin_addr
                                              : (void *)&((struct sockaddr_in6 *)one->ai_addr)->sin6_addr;
    puts(inet_ntop(one->ai_family, address, text, sizeof text));
  }
  return 0;
}
`;

const inGo = `package main

import (
	"fmt"
	"net"
	"os"
)

func main() {
	all, err := net.LookupHost(os.Args[1])
	if err != nil {
		fmt.Println("none:", err)
		os.Exit(1)
	}
	for _, one := range all {
		fmt.Println(one)
	}
}
`;

const inNode = (call: string): string =>
  `const dns = require("node:dns").promises; ${call}.then((all) => console.log(all.join("\\n")), (error) => { console.log("none: " + error.code); process.exit(1); });`;

export const resolverPrograms: readonly ResolverProgram[] = [
  { name: "glibc", skip: false, prepare: compiled("gcc") },
  { name: "musl", skip: missing("musl-gcc", "apt-get install musl-tools"), prepare: compiled("musl-gcc", "-static") },
  {
    name: "Go",
    skip: missing("go", "install Go from https://go.dev or your distribution"),
    prepare(t) {
      const folder = temporaryFolder(t);
      writeFileSync(join(folder, "main.go"), inGo);
      const settings = ["CGO_ENABLED=0", "GO111MODULE=off", "GOFLAGS="];
      execFileSync("env", [...settings, "go", "build", "-o", join(folder, "resolve"), join(folder, "main.go")]);
      return (name) => [join(folder, "resolve"), name];
    },
  },
  {
    name: "Node (c-ares)",
    skip: false,
    // c-ares' own call knows search domains, resolve4 does not
    prepare: () => (name) => [process.execPath, "-e", inNode(`dns.resolve4(${JSON.stringify(name)})`)],
  },
  {
    name: "Node (lookup)",
    skip: false,
    prepare: () => (name) => [
      process.execPath,
      "-e",
      inNode(`dns.lookup(${JSON.stringify(name)}, { all: true }).then((all) => all.map(({ address }) => address))`),
    ],
  },
];

function compiled(compiler: string, ...flags: string[]): ResolverProgram["prepare"] {
  return (t) => {
    const folder = temporaryFolder(t);
    writeFileSync(join(folder, "resolve.c"), inC);
    execFileSync(compiler, [...flags, "-o", join(folder, "resolve"), join(folder, "resolve.c")]);
    return (name) => [join(folder, "resolve"), name];
  };
}

function missing(program: string, remedy: string): string | false {
  try {
    execFileSync("sh", ["-c", `command -v ${program}`]);
    return false;
  } catch {
    return `${program} is missing: ${remedy}`;
  }
}
