package main

import (
	"github.com/edwarnicke/genericsync"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/networkservice/common/authorize"
	registryauthorize "github.com/networkservicemesh/sdk/pkg/registry/common/authorize"
	authmonitor "github.com/networkservicemesh/sdk/pkg/tools/monitorconnection/authorize"
)

// The defaults of the upstream commands.
var (
	registryServerPolicies = []string{"etc/nsm/opa/common/.*.rego", "etc/nsm/opa/registry/.*.rego", "etc/nsm/opa/server/.*.rego"}
	registryClientPolicies = []string{"etc/nsm/opa/common/.*.rego", "etc/nsm/opa/registry/.*.rego", "etc/nsm/opa/client/.*.rego"}
)

// rules are the policies of one part: all of upstream's defaults, or none.
type rules struct {
	server    networkservice.NetworkServiceServer
	client    networkservice.NetworkServiceClient
	monitor   networkservice.MonitorConnectionServer
	nsServer  registry.NetworkServiceRegistryServer
	nseServer registry.NetworkServiceEndpointRegistryServer
	nsClient  registry.NetworkServiceRegistryClient
	nseClient registry.NetworkServiceEndpointRegistryClient
}

func newRules(on bool) rules {
	if !on {
		return rules{
			server:    authorize.NewServer(authorize.Any()),
			client:    authorize.NewClient(authorize.Any()),
			monitor:   authmonitor.NewMonitorConnectionServer(authmonitor.Any()),
			nsServer:  registryauthorize.NewNetworkServiceRegistryServer(registryauthorize.Any()),
			nseServer: registryauthorize.NewNetworkServiceEndpointRegistryServer(registryauthorize.Any()),
			nsClient:  registryauthorize.NewNetworkServiceRegistryClient(registryauthorize.Any()),
			nseClient: registryauthorize.NewNetworkServiceEndpointRegistryClient(registryauthorize.Any()),
		}
	}
	var connections genericsync.Map[spiffeid.ID, *genericsync.Map[string, struct{}]]
	server := registryauthorize.WithPolicies(registryServerPolicies...)
	client := registryauthorize.WithPolicies(registryClientPolicies...)
	return rules{
		server:    authorize.NewServer(authorize.WithSpiffeIDConnectionMap(&connections)),
		client:    authorize.NewClient(),
		monitor:   authmonitor.NewMonitorConnectionServer(authmonitor.WithSpiffeIDConnectionMap(&connections)),
		nsServer:  registryauthorize.NewNetworkServiceRegistryServer(server),
		nseServer: registryauthorize.NewNetworkServiceEndpointRegistryServer(server),
		nsClient:  registryauthorize.NewNetworkServiceRegistryClient(client),
		nseClient: registryauthorize.NewNetworkServiceEndpointRegistryClient(client),
	}
}
