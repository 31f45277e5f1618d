package main

import (
	"context"
	"net/url"

	"google.golang.org/grpc"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	kernelmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
	noopmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/noop"
	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/client"
	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/endpoint"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/connect"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/discover"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms/kernel"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms/recvfd"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms/sendfd"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanismtranslation"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/null"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/roundrobin"
	registryclient "github.com/networkservicemesh/sdk/pkg/registry/chains/client"
	registryrecvfd "github.com/networkservicemesh/sdk/pkg/registry/common/recvfd"
	registrysendfd "github.com/networkservicemesh/sdk/pkg/registry/common/sendfd"
)

// runForwarder is a forwarder that negotiates the kernel mechanism on both sides and moves no packet: the order of the
// elements is that of the published forwarders, which are no importable packages.
func runForwarder(ctx context.Context, args []string, _ <-chan string) error {
	s := newSettings("forwarder")
	tunnelIP := s.String("tunnel-ip", "", "address of this node for tunnels to others; default: there is one node")
	if err := s.Parse(args); err != nil {
		return err
	}
	sec, err := s.security(ctx)
	if err != nil {
		return err
	}
	r := newRules(*s.policies)
	dial := append(sec.dial, grpc.WithBlock(), grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	manager := mustURL(*s.connectTo)
	nsClient := registryclient.NewNetworkServiceRegistryClient(ctx,
		registryclient.WithClientURL(manager),
		registryclient.WithDialOptions(dial...),
		registryclient.WithAuthorizeNSRegistryClient(r.nsClient))
	nseClient := registryclient.NewNetworkServiceEndpointRegistryClient(ctx,
		registryclient.WithClientURL(manager),
		registryclient.WithDialOptions(dial...),
		registryclient.WithNSEAdditionalFunctionality(registryrecvfd.NewNetworkServiceEndpointRegistryClient()),
		registryclient.WithAuthorizeNSERegistryClient(r.nseClient))
	listen := mustURL(*s.listen)
	server := endpoint.NewServer(ctx, sec.tokens,
		endpoint.WithName(*s.name),
		endpoint.WithAuthorizeServer(r.server),
		endpoint.WithAuthorizeMonitorConnectionServer(r.monitor),
		endpoint.WithAdditionalFunctionality(
			serverDescriptors(listen, recvfd.NewServer()),
			serverDescriptors(listen, sendfd.NewServer()),
			discover.NewServer(nsClient, nseClient),
			roundrobin.NewServer(),
			mechanisms.NewServer(addTunnelServer(*tunnelIP, map[string]networkservice.NetworkServiceServer{
				kernelmech.MECHANISM: null.NewServer(),
				noopmech.MECHANISM:   null.NewServer(),
			})),
			connect.NewServer(client.NewClient(ctx,
				client.WithoutRefresh(),
				client.WithName(*s.name),
				client.WithDialOptions(dial...),
				client.WithDialTimeout(*s.dialTimeout),
				client.WithAdditionalFunctionality(append(append([]networkservice.NetworkServiceClient{
					mechanismtranslation.NewClient(), kernel.NewClient(),
				}, tunnelClients(*tunnelIP)...), clientDescriptors(listen, recvfd.NewClient(), sendfd.NewClient())...)...),
			)),
		))
	failed := listenAndServe(ctx, []*url.URL{listen}, sec, server.Register)
	register := registryclient.NewNetworkServiceEndpointRegistryClient(ctx,
		registryclient.WithClientURL(manager),
		registryclient.WithDialOptions(dial...),
		registryclient.WithNSEAdditionalFunctionality(registrysendfd.NewNetworkServiceEndpointRegistryClient()),
		registryclient.WithAuthorizeNSERegistryClient(r.nseClient))
	if _, err := register.Register(ctx, &registry.NetworkServiceEndpoint{
		Name:                *s.name,
		NetworkServiceNames: []string{"forwarder"},
		NetworkServiceLabels: map[string]*registry.NetworkServiceLabels{
			"forwarder": {Labels: map[string]string{"p2p": "true"}},
		},
		Url: listen.String(),
	}); err != nil {
		return err
	}
	emit("ready", map[string]any{"name": *s.name})
	return untilEnd(ctx, failed)
}
