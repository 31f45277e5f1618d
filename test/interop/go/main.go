// Command interop runs one part of a Network Service Mesh, made of the public chains of the Go SDK: the peer that Weft
// has to get on with. Events go to standard output, one JSON object a line; logs go to standard error. It ends at
// SIGTERM, and when standard input ends: a test that is cut off leaves no process behind.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/sirupsen/logrus"

	"github.com/networkservicemesh/sdk/pkg/tools/log"
	"github.com/networkservicemesh/sdk/pkg/tools/log/logruslogger"
)

type command func(ctx context.Context, args []string, commands <-chan string) error

var subcommands = map[string]command{
	"client":    runClient,
	"endpoint":  runEndpoint,
	"nsmgr":     runNsmgr,
	"registry":  runRegistry,
	"forwarder": runForwarder,
}

func main() {
	if len(os.Args) < 2 || subcommands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: interop client|endpoint|nsmgr|registry|forwarder [flags]")
		os.Exit(2)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	log.EnableTracing(os.Getenv("INTEROP_TRACING") != "off")
	logrus.SetOutput(os.Stderr)
	// Below the level of info the SDK (v1.18.0, core/trace/client.go) drops all call options of its clients, and with them
	// peers' certificates and descriptors.
	logrus.SetLevel(logrus.InfoLevel)
	if level, err := logrus.ParseLevel(os.Getenv("INTEROP_LOG_LEVEL")); err == nil && level > logrus.InfoLevel {
		logrus.SetLevel(level)
	}
	ctx = log.WithLog(ctx, logruslogger.New(ctx, map[string]interface{}{"cmd": os.Args[1]}))
	if err := subcommands[os.Args[1]](ctx, os.Args[2:], readCommands(os.Stdin, cancel)); err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		emit("failed", map[string]any{"error": err.Error()})
		os.Exit(1)
	}
}

// readCommands gives the lines of r, and calls atEnd when there are no more.
func readCommands(r io.Reader, atEnd func()) <-chan string {
	lines := make(chan string)
	go func() {
		defer atEnd()
		scanLines(r, lines)
	}()
	return lines
}
