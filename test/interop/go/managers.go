package main

import (
	"context"
	"net/url"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/nsmgr"
	"github.com/networkservicemesh/sdk/pkg/registry/chains/memory"
)

// runNsmgr is the node manager, made as cmd-nsmgr is.
func runNsmgr(ctx context.Context, args []string, _ <-chan string) error {
	s := newSettings("nsmgr")
	publicURL := s.String("url", "", "url told to the registry; default: the first tcp url listened on")
	if err := s.Parse(args); err != nil {
		return err
	}
	sec, err := s.security(ctx)
	if err != nil {
		return err
	}
	r := newRules(*s.policies)
	var urls []*url.URL
	for _, text := range strings.Split(*s.listen, ",") {
		u := mustURL(text)
		urls = append(urls, u)
		if *publicURL == "" && u.Scheme == "tcp" {
			*publicURL = u.String()
		}
	}
	manager := nsmgr.NewServer(ctx, sec.tokens,
		nsmgr.WithName(*s.name),
		nsmgr.WithURL(*publicURL),
		nsmgr.WithRegistry(mustURL(*s.connectTo)),
		nsmgr.WithDialTimeout(*s.dialTimeout),
		nsmgr.WithDialOptions(append(sec.dial, grpc.WithBlock())...),
		nsmgr.WithAuthorizeServer(r.server),
		nsmgr.WithAuthorizeMonitorConnectionServer(r.monitor),
		nsmgr.WithAuthorizeNSRegistryServer(r.nsServer),
		nsmgr.WithAuthorizeNSERegistryServer(r.nseServer),
		nsmgr.WithAuthorizeNSRegistryClient(r.nsClient),
		nsmgr.WithAuthorizeNSERegistryClient(r.nseClient),
	)
	failed := listenAndServe(ctx, urls, sec, manager.Register)
	emit("ready", map[string]any{"name": *s.name})
	return untilEnd(ctx, failed)
}

// runRegistry is the registry in memory, made as cmd-registry-memory is.
func runRegistry(ctx context.Context, args []string, _ <-chan string) error {
	s := newSettings("registry")
	expirePeriod := s.Duration("expire-period", time.Minute, "life of an endpoint without a refresh, less the time that a Register may take")
	if err := s.Parse(args); err != nil {
		return err
	}
	sec, err := s.security(ctx)
	if err != nil {
		return err
	}
	r := newRules(*s.policies)
	server := memory.NewServer(ctx, sec.tokens,
		memory.WithDefaultExpiration(*expirePeriod),
		memory.WithDialOptions(sec.dial...),
		memory.WithAuthorizeNSRegistryServer(r.nsServer),
		memory.WithAuthorizeNSERegistryServer(r.nseServer),
		memory.WithAuthorizeNSRegistryClient(r.nsClient),
		memory.WithAuthorizeNSERegistryClient(r.nseClient),
	)
	failed := listenAndServe(ctx, []*url.URL{mustURL(*s.listen)}, sec, server.Register)
	emit("ready", map[string]any{"name": *s.name})
	return untilEnd(ctx, failed)
}
