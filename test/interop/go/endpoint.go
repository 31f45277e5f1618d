package main

import (
	"context"
	"net"
	"net/url"
	"sync"
	"time"

	"github.com/golang/protobuf/ptypes/empty"
	"google.golang.org/grpc"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	kernelmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
	noopmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/noop"
	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/endpoint"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms/kernel"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms/recvfd"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms/sendfd"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/null"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/ipam/point2pointipam"
	registryclient "github.com/networkservicemesh/sdk/pkg/registry/chains/client"
	registrysendfd "github.com/networkservicemesh/sdk/pkg/registry/common/sendfd"
)

// runEndpoint is an endpoint made as cmd-nse-icmp-responder is.
func runEndpoint(ctx context.Context, args []string, _ <-chan string) error {
	s := newSettings("endpoint")
	service := s.String("service", "interop", "network service offered")
	cidr := s.String("cidr", "172.16.100.0/24", "address pool")
	if err := s.Parse(args); err != nil {
		return err
	}
	_, pool, err := net.ParseCIDR(*cidr)
	if err != nil {
		return err
	}
	sec, err := s.security(ctx)
	if err != nil {
		return err
	}
	r := newRules(*s.policies)
	listen := mustURL(*s.listen)
	server := endpoint.NewServer(ctx, sec.tokens,
		endpoint.WithName(*s.name),
		endpoint.WithAuthorizeServer(r.server),
		endpoint.WithAuthorizeMonitorConnectionServer(r.monitor),
		endpoint.WithAdditionalFunctionality(
			&teller{},
			point2pointipam.NewServer(pool),
			serverDescriptors(listen, recvfd.NewServer()),
			mechanisms.NewServer(map[string]networkservice.NetworkServiceServer{
				kernelmech.MECHANISM: kernel.NewServer(),
				noopmech.MECHANISM:   null.NewServer(),
			}),
			serverDescriptors(listen, sendfd.NewServer()),
		))
	failed := listenAndServe(ctx, []*url.URL{listen}, sec, server.Register)
	dial := append(sec.dial, grpc.WithBlock(), grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	manager := mustURL(*s.connectTo)
	services := registryclient.NewNetworkServiceRegistryClient(ctx,
		registryclient.WithClientURL(manager),
		registryclient.WithDialOptions(dial...),
		registryclient.WithAuthorizeNSRegistryClient(r.nsClient))
	endpoints := registryclient.NewNetworkServiceEndpointRegistryClient(ctx,
		registryclient.WithClientURL(manager),
		registryclient.WithDialOptions(dial...),
		registryclient.WithNSEAdditionalFunctionality(registrysendfd.NewNetworkServiceEndpointRegistryClient()),
		registryclient.WithAuthorizeNSERegistryClient(r.nseClient))
	if _, err := services.Register(ctx, &registry.NetworkService{Name: *service, Payload: "ETHERNET"}); err != nil {
		return err
	}
	entry, err := endpoints.Register(ctx, &registry.NetworkServiceEndpoint{
		Name:                *s.name,
		NetworkServiceNames: []string{*service},
		Url:                 listen.String(),
	})
	if err != nil {
		return err
	}
	emit("ready", map[string]any{"name": entry.GetName()})
	if err := untilEnd(ctx, failed); err != nil {
		return err
	}
	leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	_, err = endpoints.Unregister(leaving, entry)
	emit("unregistered", map[string]any{"error": textOf(err)})
	return nil
}

// teller is an element that tells which connections begin and end.
type teller struct{ known sync.Map }

func (t *teller) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	conn, err := next.Server(ctx).Request(ctx, request)
	if err == nil {
		if _, loaded := t.known.LoadOrStore(conn.GetId(), true); !loaded {
			emit("opened", described(conn))
		}
	}
	return conn, err
}

func (t *teller) Close(ctx context.Context, conn *networkservice.Connection) (*empty.Empty, error) {
	t.known.Delete(conn.GetId())
	emit("closed", described(conn))
	return next.Server(ctx).Close(ctx, conn)
}

func textOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
